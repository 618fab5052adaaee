"""The settings, one module per environment."""

import gc

# Loading them imports much that stays. To look for garbage in it meanwhile would make each process
# start a twentieth later; the end of base.py turns it on again.
gc.disable()
