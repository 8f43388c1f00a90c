__version__ = "0.1.0"

from typing import Literal

# GELU exactly or by tanh; or SwiGLU, whose first projection gives a gate and a value.
Activation = Literal["gelu", "gelu_tanh", "swiglu"]
