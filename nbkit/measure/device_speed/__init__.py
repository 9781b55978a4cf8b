"""Device speed: what each rank reads and computes a second at most, measured while the others do the same.

Ranks on one machine share its memory, so the speed of one alone is not what a run can
have: all that take part measure at the same moment, and the others are idle.
"""

from nbkit.measure.device_speed.kept import cache_file
from nbkit.measure.device_speed.measurement import measure

__all__ = ["cache_file", "measure"]
