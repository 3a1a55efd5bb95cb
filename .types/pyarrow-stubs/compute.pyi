# pyarrow makes most of its compute functions at run time, where no type checker sees them.
from typing import Any

Expression = Any

def __getattr__(name: str) -> Any: ...
