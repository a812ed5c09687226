# SPDX-License-Identifier: BSD-3-Clause
"""Arrays in files, read by rows in bounded memory, and outputs that appear only when they are complete."""

import contextlib
import csv
import itertools
import math
import mmap
import os
import re
import secrets
import shutil
import stat
import tempfile
import zipfile

import numpy as np


class UserError(Exception):
    """Something the user has to put right: shown as one line, without a traceback."""


def open_array(name):
    """The rows of `name`: FILE.npy, FILE.csv, FILE.npz or FILE.npz:member.

    The result has `name`, `shape`, `dtype`, `nbytes` (what one pass reads) and `chunks(rows)`, which yields
    the rows in order, `rows` at a time. A chunk is for reading only, and valid until the next one is asked
    for. A file without rows has one empty chunk, so that whoever adds up chunks always sees shape and dtype.
    """
    try:
        archive = re.fullmatch(r"(.+\.npz)(?::(.+))?", name, re.IGNORECASE | re.DOTALL)
        if archive:
            return open_member(name, *archive.groups())
        if name.lower().endswith(".csv"):
            return CsvFile(name)
        if name.lower().endswith(".npy"):
            with open(name, "rb") as file:
                return NpyFile(name, file)
    except OSError as error:
        raise UserError(f"{name}: {error.strerror or error}") from None
    raise UserError(f"{name}: unknown kind of file; expected .npy, .npz, .npz:member or .csv")


def slices(length, rows):
    """(start, stop) of each chunk."""
    for start in range(0, max(length, 1), rows):
        yield start, min(start + rows, length)


def read_header(name, stream, size):
    """Read the header of the .npy `stream` of `size` bytes: (shape, fortran_order, dtype)."""
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(stream)
        else:
            raise ValueError(f"format version {version}")
    except ValueError as error:
        raise UserError(f"{name}: not a .npy array of numbers: {error}") from None
    if dtype.kind not in "biuf":
        raise UserError(f"{name}: holds dtype {dtype}, not numbers")
    present = size - stream.tell()
    promised = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or present < promised:
        raise UserError(f"{name}: cut short: {shape} of {dtype} is {promised} bytes, the file has {present}")
    # A single number is one row.
    return shape or (1,), fortran_order, dtype


class NpyFile:
    """A mapped .npy file. Pages are asked for one chunk ahead and dropped behind: few are resident."""

    # The system maps up to 2 MB around a touched page.
    FAULT_AROUND = 2**21
    # Columns of a Fortran-ordered array gathered at once.
    COLUMNS = 16

    def __init__(self, name, file):
        self.name = name
        self.shape, fortran_order, self.dtype = read_header(name, file, os.fstat(file.fileno()).st_size)
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize
        self.fortran_order = fortran_order and self.nbytes > 0
        self.offset = file.tell()
        self.mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def advise(self, advice, start, stop):
        """Give `advice`, a constant of mmap if the system has it, on the pages of bytes `start` to `stop`."""
        start -= start % mmap.PAGESIZE
        stop = min(stop, len(self.mapping))
        if hasattr(mmap, advice) and start < stop:
            self.mapping.madvise(getattr(mmap, advice), start, stop - start)

    def chunks(self, rows):
        if self.fortran_order:
            yield from self.gathered(rows)
            return
        array = np.ndarray(self.shape, self.dtype, self.mapping, self.offset)
        for start, stop in slices(len(array), rows):
            begin, end = (self.offset + row * array.strides[0] for row in (start, stop))
            self.advise("MADV_WILLNEED", end, 2 * end - begin)
            yield array[start:stop]
            # Pages that were dropped come back with a fault near them.
            self.advise("MADV_DONTNEED", max(begin - self.FAULT_AROUND, 0), end)

    def gathered(self, rows):
        """Chunks of an array whose columns, not rows, are contiguous."""
        length, *rest = self.shape
        columns = np.ndarray(self.shape[::-1], self.dtype, self.mapping, self.offset).reshape(-1, length)
        gathered = np.empty((len(columns), min(rows, length)), self.dtype)
        transposed = np.empty((min(rows, length), *rest), self.dtype)
        for start, stop in slices(length, rows):
            chunk = gathered[:, : stop - start]
            for first in range(0, len(columns), self.COLUMNS):
                few = slice(first, first + self.COLUMNS)
                chunk[few] = columns[few, start:stop]
                self.advise("MADV_DONTNEED", self.offset, self.offset + self.nbytes)
            transposed[: stop - start] = chunk.reshape(*rest[::-1], stop - start).T
            yield transposed[: stop - start]


@contextlib.contextmanager
def damage_reported(name):
    """Whatever a damaged archive makes the decoders raise is the file's fault."""
    try:
        yield
    except (UserError, FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except Exception as error:
        raise UserError(f"{name}: damaged or unsupported archive: {error}") from None


def open_member(name, path, member):
    with damage_reported(name), zipfile.ZipFile(path) as archive:
        members = [entry.removesuffix(".npy") for entry in archive.namelist() if entry.endswith(".npy")]
        if member is None:
            if len(members) != 1:
                raise UserError(
                    f"{name}: has {len(members)} arrays ({', '.join(members)}); write {path}:MEMBER"
                )
            member = members[0]
        member = member.removesuffix(".npy")
        if member not in members:
            raise UserError(f"{name}: no such array; the archive has {', '.join(members) or 'none'}")
        entry = archive.getinfo(member + ".npy")
        with archive.open(entry) as stream:
            shape, fortran_order, dtype = read_header(name, stream, entry.file_size)
        if not fortran_order:
            return NpzMember(name, path, entry, shape, dtype)
        # Its rows are scattered over the whole stream: unpack it to disk, into a file that has no name.
        with archive.open(entry) as stream, tempfile.TemporaryFile() as unpacked:
            shutil.copyfileobj(stream, unpacked)
            unpacked.seek(0)
            return NpyFile(name, unpacked)


class NpzMember:
    """A C-ordered array in an archive, decompressed as it is read."""

    PIECE = 1 << 20

    def __init__(self, name, path, entry, shape, dtype):
        self.name = name
        self.path = path
        self.entry = entry
        self.shape = shape
        self.dtype = dtype
        self.nbytes = math.prod(shape) * dtype.itemsize

    def chunks(self, rows):
        buffer = np.empty((min(rows, self.shape[0]), *self.shape[1:]), self.dtype)
        with (
            damage_reported(self.name),
            zipfile.ZipFile(self.path) as archive,
            archive.open(self.entry) as stream,
        ):
            read_header(self.name, stream, self.entry.file_size)
            for start, stop in slices(self.shape[0], rows):
                chunk = buffer[: stop - start]
                self.fill(chunk.reshape(-1).view(np.uint8), stream)
                if stop == self.shape[0]:
                    # The checksum is compared when the end of the member is seen.
                    stream.read(1)
                yield chunk

    def fill(self, data, stream):
        position = 0
        while position < len(data):
            count = stream.readinto(data[position : position + self.PIECE])
            if count == 0:
                raise EOFError("the data end early")
            position += count


def is_number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return True


class CsvFile:
    """Comma-separated numbers, read as float64. A first line in which no cell is a number is a header."""

    dtype = np.dtype(np.float64)

    def __init__(self, name):
        self.name = name
        with self.lines() as lines:
            first = next(lines, None)
            if first is None:
                raise UserError(f"{name}: empty")
            cells = self.cells(first)
            self.header = not any(map(is_number, cells))
            rows = sum(1 for _ in lines) + (not self.header)
        self.shape = rows, len(cells)
        self.nbytes = os.path.getsize(name)

    @contextlib.contextmanager
    def lines(self):
        """An iterator over the lines that are not blank."""
        # Bytes that are not UTF-8 turn up as a cell that is not a number, if they matter.
        with open(self.name, encoding="utf-8-sig", errors="replace") as file:
            yield filter(str.strip, file)

    @staticmethod
    def cells(line):
        return next(csv.reader([line]))

    def chunks(self, rows):
        with self.lines() as lines:
            if self.header:
                next(lines)
            for start, stop in slices(self.shape[0], rows):
                yield self.parse(itertools.islice(lines, stop - start), stop - start)

    def parse(self, lines, rows):
        if rows == 0:
            return np.empty(self.shape)
        try:
            chunk = np.loadtxt(lines, delimiter=",", quotechar='"', comments=None, ndmin=2)
        except ValueError as error:
            raise UserError(self.diagnosis() or f"{self.name}: {error}") from None
        if chunk.shape != (rows, self.shape[1]):
            raise UserError(self.diagnosis() or f"{self.name}: changed while it was read")
        return chunk

    def diagnosis(self):
        """The first row that is not a row of numbers, in words."""
        with self.lines() as lines:
            for row, line in enumerate(lines, start=-self.header):
                cells = self.cells(line)
                if row >= 0 and len(cells) != self.shape[1]:
                    return f"{self.name}: row {row} has {len(cells)} values, expected {self.shape[1]}"
                for column, cell in enumerate(cells):
                    if row >= 0 and not is_number(cell):
                        return f"{self.name}: row {row}, column {column}: {cell[:40]!r} is not a number"
        return None


class Output:
    """A file written under a temporary name beside `path`, and renamed when the ExitStack `stack` ends well.

    If `path` is a symbolic link, that is what happens to the file that it points to; the link stays.
    """

    PIECE = 2**24

    def __init__(self, path, stack):
        self.path = path
        self.target = os.path.realpath(path)
        self.temporary = f"{self.target}.{secrets.token_hex(4)}.partial"
        with self.errors_named():
            # Renaming would replace a device or a pipe by the file.
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISREG(os.stat(self.path).st_mode):
                    raise UserError(f"{self.path}: exists and is not a regular file; expected the name of a file to write")
            if not os.path.basename(self.path):
                raise UserError(f"{self.path}: expected the name of a file to write, got that of a folder")
            # Before there is anything to remove: an interrupt may come between any two steps.
            stack.callback(self.remove)
            self.file = stack.enter_context(open(self.temporary, "xb"))  # noqa: SIM115 (closed by the stack)
            stack.push(self.end)

    def end(self, kind, error, traceback):
        with self.errors_named():
            self.file.close()
            if kind is None:
                os.replace(self.temporary, self.target)

    def remove(self):
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.temporary)

    @contextlib.contextmanager
    def errors_named(self):
        try:
            yield
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror or error}") from None

    def write(self, data):
        # In pieces, between which signals are seen.
        view = memoryview(data).cast("B") if memoryview(data).nbytes else b""
        with self.errors_named():
            for start, stop in slices(len(view), self.PIECE):
                self.file.write(view[start:stop])

    def write_header(self, shape, dtype):
        """Begin a C-ordered .npy file."""
        description = np.lib.format.dtype_to_descr(dtype)
        header = {"descr": description, "fortran_order": False, "shape": shape}
        with self.errors_named():
            np.lib.format.write_array_header_1_0(self.file, header)
