"""No garbage collection in a process that imports this: looking for garbage takes a sixth of the time of imports."""

import gc

gc.disable()
