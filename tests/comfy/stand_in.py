"""What a MODEL is guided by in tests that bring their own shift."""

from types import SimpleNamespace


class StandIn:
    """As ppap_core's Guidance for the hook; subclasses are called for each shift."""

    strength = SimpleNamespace(is_off=False, start_percent=0.0, end_percent=1.0)
    shaping = SimpleNamespace(gives_way=False, frames=(), choose_frames=lambda x: x)
    view = staticmethod(lambda x: x)

    def start(self):
        pass

    finish = report = start

    def takes_turn(self):
        return True
