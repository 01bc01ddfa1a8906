"""danlu doctor"""

from danlu.cli.options import Json
from danlu.cli.show import print_json


def doctor(*, json: Json = False) -> None:
    """Check this installation and say how to fix problems."""
    from danlu.api.doctor import doctor as doctor_verb

    found = doctor_verb()
    if json:
        print_json([item.model_dump() for item in found])
        return
    for item in found:
        print(f"{'ok  ' if item.well else 'fix '}  {item.subject}: {item.message}")
        if item.cure:
            print(f"      {item.cure}")
