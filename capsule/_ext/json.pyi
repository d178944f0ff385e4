class JSONError(ValueError):
    message: str
    offset: int
    path: str
    line: int
    column: int
    def __init__(self, message: str, offset: int = 0, path: str = "", line: int = 0, column: int = 0) -> None: ...

def loads(data: bytes, *, max_depth: int = 64) -> object: ...
def dumps(value: object, *, indent: int = 0) -> bytes: ...
