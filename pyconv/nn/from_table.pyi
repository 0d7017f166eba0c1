# The layers that activation.py makes from the table of activations, as type checkers and editors see them.
# A test compares them with the table, and says what to write here.

from .activation import _Activation

class ReLU(_Activation):
    def __init__(self, inplace: bool = False, *, backend: str | None = None) -> None: ...

class ReLU6(_Activation):
    def __init__(self, inplace: bool = False, *, backend: str | None = None) -> None: ...

class LeakyReLU(_Activation):
    negative_slope: float
    def __init__(self, negative_slope: float = 0.01, inplace: bool = False, *, backend: str | None = None) -> None: ...

class ELU(_Activation):
    alpha: float
    def __init__(self, alpha: float = 1.0, inplace: bool = False, *, backend: str | None = None) -> None: ...

class SELU(_Activation):
    def __init__(self, inplace: bool = False, *, backend: str | None = None) -> None: ...

class CELU(_Activation):
    alpha: float
    def __init__(self, alpha: float = 1.0, inplace: bool = False, *, backend: str | None = None) -> None: ...

class SiLU(_Activation):
    def __init__(self, inplace: bool = False, *, backend: str | None = None) -> None: ...

class Mish(_Activation):
    def __init__(self, inplace: bool = False, *, backend: str | None = None) -> None: ...

class Sigmoid(_Activation):
    def __init__(self, *, backend: str | None = None) -> None: ...

class LogSigmoid(_Activation):
    def __init__(self, *, backend: str | None = None) -> None: ...

class Tanh(_Activation):
    def __init__(self, *, backend: str | None = None) -> None: ...

class Tanhshrink(_Activation):
    def __init__(self, *, backend: str | None = None) -> None: ...

class Hardtanh(_Activation):
    min_val: float
    max_val: float
    def __init__(
        self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False, *, backend: str | None = None
    ) -> None: ...

class Hardsigmoid(_Activation):
    def __init__(self, inplace: bool = False, *, backend: str | None = None) -> None: ...

class Hardswish(_Activation):
    def __init__(self, inplace: bool = False, *, backend: str | None = None) -> None: ...

class Hardshrink(_Activation):
    lambd: float
    def __init__(self, lambd: float = 0.5, *, backend: str | None = None) -> None: ...

class Softshrink(_Activation):
    lambd: float
    def __init__(self, lambd: float = 0.5, *, backend: str | None = None) -> None: ...

class Softplus(_Activation):
    beta: float
    threshold: float
    def __init__(self, beta: float = 1.0, threshold: float = 20.0, *, backend: str | None = None) -> None: ...

class Softsign(_Activation):
    def __init__(self, *, backend: str | None = None) -> None: ...

class Threshold(_Activation):
    threshold: float
    value: float
    def __init__(
        self, threshold: float, value: float, inplace: bool = False, *, backend: str | None = None
    ) -> None: ...
