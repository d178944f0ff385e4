# distutils: sources = csrc/json.c csrc/json_write.c
# cython: language_level=3
"""JSON documents to and from Python objects: csrc/json.h."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.errno cimport EINVAL, ENOMEM
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset, strlen

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef extern from "json.h" nogil:
    enum:
        CAPSULE_JSON_NULL
        CAPSULE_JSON_FALSE
        CAPSULE_JSON_TRUE
        CAPSULE_JSON_INTEGER
        CAPSULE_JSON_NATURAL
        CAPSULE_JSON_REAL
        CAPSULE_JSON_STRING
        CAPSULE_JSON_ARRAY
        CAPSULE_JSON_MAX_DEPTH

    union _value:
        int64_t integer
        uint64_t natural
        const char *text
        uint32_t next

    struct capsule_json_node:
        uint32_t type
        uint32_t length
        _value value

    struct capsule_json:
        capsule_json_node *nodes
        const char *text

    struct capsule_json_error:
        size_t offset
        unsigned int line
        unsigned int column
        char path[256]
        char message[128]

    struct capsule_json_writer:
        char *data
        size_t length
        int failed

    int capsule_json_parse(capsule_json *json, const char *data, size_t length, unsigned int max_depth,
                           capsule_json_error *error) noexcept
    void capsule_json_free(capsule_json *json) noexcept
    void capsule_json_write(capsule_json_writer *writer, const char *bytes, size_t length) noexcept
    void capsule_json_write_string(capsule_json_writer *writer, const char *utf8, size_t length) noexcept
    void capsule_json_write_integer(capsule_json_writer *writer, int64_t value) noexcept
    void capsule_json_write_natural(capsule_json_writer *writer, uint64_t value) noexcept
    void capsule_json_write_line(capsule_json_writer *writer, size_t spaces) noexcept
    void capsule_json_writer_free(capsule_json_writer *writer) noexcept


class JSONError(ValueError):
    """A document that is not acceptable JSON, or an object that JSON cannot hold."""

    def __init__(self, message, offset=0, path="", line=0, column=0):
        ValueError.__init__(self, message, offset, path)
        self.message = message
        self.offset = offset
        self.path = path
        self.line = line
        self.column = column

    def __str__(self):
        if self.line:
            return f"{self.message} at line {self.line}, column {self.column}"
        return f"{self.message} at byte {self.offset}" if self.offset else self.message


def loads(bytes data not None, *, unsigned int max_depth=64):
    """Parse a document. Raises JSONError, MemoryError."""
    cdef capsule_json json
    cdef capsule_json_error error
    cdef uint32_t cursor = 0
    cdef int r = capsule_json_parse(&json, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), max_depth, &error)
    try:
        if r == -EINVAL:
            raise JSONError(_text(error.message), error.offset, _text(error.path), error.line, error.column)
        if r == -ENOMEM:
            raise MemoryError
        if r < 0:
            raise JSONError("the document is too large")
        return _build(&json, &cursor)
    finally:
        capsule_json_free(&json)


def dumps(value, *, Py_ssize_t indent=0):
    """Write a value: compact, or one item a line with `indent` spaces a level.

    A bytes value is JSON already and embedded as it is. Raises JSONError for what JSON cannot hold.
    """
    cdef capsule_json_writer writer
    memset(&writer, 0, sizeof(writer))
    try:
        _write(&writer, value, indent, 0)
        if writer.failed:
            raise MemoryError
        return PyBytes_FromStringAndSize(writer.data, writer.length)
    finally:
        capsule_json_writer_free(&writer)


cdef str _text(const char *text):
    return PyUnicode_DecodeUTF8(text, strlen(text), NULL)


cdef object _build(const capsule_json *json, uint32_t *cursor):
    """Build the value at the cursor and move the cursor behind it; the parser has bounded the depth."""
    cdef capsule_json_node *node = &json.nodes[cursor[0]]
    cdef uint32_t left = node.length
    cursor[0] += 1
    if node.type == CAPSULE_JSON_STRING:
        return PyUnicode_DecodeUTF8(node.value.text, node.length, NULL)
    if node.type == CAPSULE_JSON_NATURAL:
        return node.value.natural
    if node.type == CAPSULE_JSON_INTEGER:
        return node.value.integer
    if node.type == CAPSULE_JSON_REAL:
        return _real(node.value.text[:node.length], node.value.text - json.text)
    if node.type == CAPSULE_JSON_ARRAY:
        return _build_list(json, cursor, left)
    if node.type == CAPSULE_JSON_NULL:
        return None
    if node.type == CAPSULE_JSON_TRUE:
        return True
    if node.type == CAPSULE_JSON_FALSE:
        return False
    return _build_dict(json, cursor, left)


cdef list _build_list(const capsule_json *json, uint32_t *cursor, uint32_t left):
    cdef list result = []
    while left > 0:
        result.append(_build(json, cursor))
        left -= 1
    return result


cdef dict _build_dict(const capsule_json *json, uint32_t *cursor, uint32_t left):
    cdef dict result = {}
    while left > 0:
        key = _build(json, cursor)
        result[key] = _build(json, cursor)
        left -= 1
    return result


cdef object _real(bytes text, Py_ssize_t offset):
    """Round a number to a float; one beyond all floats is refused, as infinity is."""
    value = float(text)
    if value - value != 0:
        raise JSONError(f"number out of range: {text[:32].decode('ascii')}", offset)
    return value


cdef int _write(capsule_json_writer *writer, object value, Py_ssize_t indent, Py_ssize_t depth) except -1:
    """Append one value of any kind."""
    if depth > CAPSULE_JSON_MAX_DEPTH:
        raise JSONError("nested too deeply")
    if isinstance(value, str):
        _write_string(writer, value)
    elif value is None:
        capsule_json_write(writer, b"null", 4)
    elif value is True:
        capsule_json_write(writer, b"true", 4)
    elif value is False:
        capsule_json_write(writer, b"false", 5)
    elif isinstance(value, int):
        _write_int(writer, value)
    elif isinstance(value, dict):
        _write_dict(writer, value, indent, depth + 1)
    elif isinstance(value, (list, tuple)):
        _write_list(writer, value, indent, depth + 1)
    elif isinstance(value, bytes):
        capsule_json_write(writer, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    elif isinstance(value, float):
        if value - value != 0:
            raise JSONError(f"JSON has no {value}")
        text = repr(value).encode("ascii")
        capsule_json_write(writer, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
    else:
        raise JSONError(f"JSON has no {type(value).__name__}")
    return 0


cdef int _write_string(capsule_json_writer *writer, str text) except -1:
    cdef Py_ssize_t size
    cdef const char *utf8
    try:
        utf8 = PyUnicode_AsUTF8AndSize(text, &size)
    except UnicodeError:
        raise JSONError("lone surrogate in a string")
    capsule_json_write_string(writer, utf8, size)
    return 0


cdef int _write_int(capsule_json_writer *writer, object value) except -1:
    try:
        if value < 0:
            capsule_json_write_integer(writer, value)
        else:
            capsule_json_write_natural(writer, value)
    except OverflowError:
        raise JSONError("integer beyond 64 bits")
    return 0


cdef int _write_list(capsule_json_writer *writer, object values, Py_ssize_t indent, Py_ssize_t depth) except -1:
    first = True
    capsule_json_write(writer, b"[", 1)
    for value in values:
        _separate(writer, first, indent, depth)
        _write(writer, value, indent, depth)
        first = False
    if indent and not first:
        capsule_json_write_line(writer, indent * (depth - 1))
    capsule_json_write(writer, b"]", 1)
    return 0


cdef int _write_dict(capsule_json_writer *writer, dict values, Py_ssize_t indent, Py_ssize_t depth) except -1:
    first = True
    capsule_json_write(writer, b"{", 1)
    for key, value in values.items():
        if not isinstance(key, str):
            raise JSONError(f"a key is {type(key).__name__}, not a string")
        _separate(writer, first, indent, depth)
        _write_string(writer, key)
        capsule_json_write(writer, b": ", 2 if indent else 1)
        _write(writer, value, indent, depth)
        first = False
    if indent and not first:
        capsule_json_write_line(writer, indent * (depth - 1))
    capsule_json_write(writer, b"}", 1)
    return 0


cdef void _separate(capsule_json_writer *writer, bint first, Py_ssize_t indent, Py_ssize_t depth):
    if not first:
        capsule_json_write(writer, b",", 1)
    if indent:
        capsule_json_write_line(writer, indent * depth)
