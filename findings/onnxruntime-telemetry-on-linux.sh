#!/usr/bin/env bash
# onnxruntime 1.32.0's wheel for Linux has telemetry, which is on: importing it writes a device id and a database of
# events into the home folder.
# Expected: telemetry in builds for Windows alone, and nothing written by an import. Found: both files after a bare
# `import onnxruntime`, and `disable_telemetry_events()`, which can only be called afterwards, leaves them;
# ORT_DISABLE_TELEMETRY=1 in the environment, before the import, writes nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --root-user-action ignore --target "$folder/packages" onnxruntime==1.32.0
export PYTHONPATH="$folder/packages"
written() {
    mkdir "$folder/$1"
    HOME="$folder/$1" XDG_CACHE_HOME= python3 -c "$2" >/dev/null
    (cd "$folder/$1" && find . -type f | sort | tr '\n' ' ')
}
plain=$(written plain "import onnxruntime")
called=$(written called "import onnxruntime; onnxruntime.disable_telemetry_events()")
off=$(ORT_DISABLE_TELEMETRY=1 written off "import onnxruntime")
echo "import: $plain"
echo "import, disable_telemetry_events(): $called"
echo "ORT_DISABLE_TELEMETRY=1: ${off:-nothing}"
[[ $plain == *deviceid* && $plain == *onnxruntime.db* ]]
[[ $called == *deviceid* ]]
[[ -z $off ]]
