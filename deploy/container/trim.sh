#!/bin/sh
# trim.sh VENV: takes out of the installed packages what runs nothing in this image.
set -eu
packages=$(echo "$1"/lib/python3.*/site-packages)
cd "$packages"
rm -rf pip pip-* setuptools setuptools-* pkg_resources
find . -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +
# What compilers, linkers and type checkers read, and numba's part for graphics cards.
find . -type f \( -name '*.[ach]' -o -name '*.pyi' -o -name '*.px[di]' -o -name '*.pyx' \) -delete
rm -rf pyarrow/include pyarrow/src pyarrow/includes numpy/_core/include numpy/distutils numpy/f2py numba/cuda
# Arrow: the parts for Flight and object stores, and second and third copies of libraries, which wheels hold because a
# wheel has no links.
rm -f pyarrow/libarrow_flight.so* pyarrow/libarrow_python_flight.so* pyarrow/_flight.* \
    pyarrow/libarrow_s3.so* pyarrow/_s3fs.* pyarrow/*parquet_encryption* pyarrow/_pyarrow_cpp_tests.*
for full in pyarrow/libarrow_python.so.*.*.*; do
    short=${full%.*.*}
    ln -sf "$(basename "$full")" "$short"
    ln -sf "$(basename "$short")" "${short%.*}"
done
# Elements that the page does not show, a compiler for its styles, and scripts made for developing.
rm -f nicegui/static/sass.*.js nicegui/static/quasar.umd.js nicegui/static/vue.esm-browser.js
rm -rf nicegui/elements/mermaid/dist nicegui/elements/plotly/dist nicegui/elements/codemirror/dist \
    nicegui/elements/echart/dist nicegui/elements/json_editor/dist nicegui/elements/scene/dist
# Its package draws in notebooks, with IPython; the page takes the files beside it.
: > uplot/__init__.py
# Symbols are for debuggers. What wheels bring along in *.libs was put together by other tools and is left as it is.
find . -name '*.so*' -type f -not -path './*.libs/*' -exec strip --strip-unneeded {} +
