"""What watches a training: meter, alarms, profiler, trackers and callbacks. None of it decides anything."""
