"""danlu doctor"""

from danlu.cli.options import Json
from danlu.cli.show import print_json


def doctor(*, json: Json = False) -> int:
    """Look at this installation and say what to mend. Exit code 1 when something does not fit together."""
    from danlu.verbs.doctor import doctor as doctor_verb

    found = doctor_verb()
    if json:
        print_json([item.model_dump() for item in found])
    else:
        for item in found:
            print(f"{'ok  ' if item.well else 'mend'}  {item.subject}: {item.message}")
            if item.cure:
                print(f"      {item.cure}")
    return 0
