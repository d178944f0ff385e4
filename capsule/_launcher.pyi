# The module that the launcher alone has (csrc/launcher.c).
variant: str
version: str
commit: str
library: str
python: str

def exec_python(argv: list) -> int: ...
