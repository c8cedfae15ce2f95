"""How torch's CPU threads wait. Imported before torch, because OpenMP reads it when it is loaded.

Threads that spin at a barrier while another process holds their core made an optimiser step ten times slower
on two busy cores (5.7 s instead of 0.35 s for a 3×3 task); threads that sleep cost nothing measurable there.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
