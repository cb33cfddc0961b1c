#!/bin/sh
# trim.sh VENV: takes out of installed packages what runs nothing here: tests, headers, and of Arrow what only
# Flight and object stores use.
set -eu
packages=$(echo "$1"/lib/python3.*/site-packages)
find "$packages" -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +
rm -rf "$packages"/pyarrow/include "$packages"/pyarrow/src "$packages"/numpy/_core/include
rm -f "$packages"/pyarrow/libarrow_flight.so* "$packages"/pyarrow/libarrow_python_flight.so* \
    "$packages"/pyarrow/libarrow_s3.so* "$packages"/pyarrow/_flight.* "$packages"/pyarrow/_s3fs.*
rm -rf "$packages"/pip "$packages"/pip-* "$packages"/setuptools "$packages"/setuptools-* "$packages"/pkg_resources
