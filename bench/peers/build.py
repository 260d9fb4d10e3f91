"""Builds the peers from their sources, and bench/peers/driver.cc against each of them."""

import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

HERE = pathlib.Path(__file__).resolve().parent
PACKAGE = "llama-cpp-python"
LIBRARY_ONLY = ["-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=ON", "-DLLAMA_BUILD_COMMON=OFF",
                "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_TOOLS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF",
                "-DLLAMA_BUILD_SERVER=OFF", "-DLLAMA_CURL=OFF"]
# What each instruction set is to CMake. The names are those of the rows: natively, and AVX2 with FMA and F16C only.
INSTRUCTION_SETS = {
    "native": ["-DGGML_NATIVE=ON"],
    "avx2": ["-DGGML_NATIVE=OFF", "-DGGML_SSE42=ON", "-DGGML_AVX=ON", "-DGGML_AVX2=ON", "-DGGML_FMA=ON",
             "-DGGML_F16C=ON", "-DGGML_BMI2=OFF"],
}


def run(*command, **options):
    words = [str(word) for word in command]
    result = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if result.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{result.stdout[-2000:]}")
    return result.stdout


def llama_cpp_source(work, version):
    """The llama.cpp inside the package's source distribution."""
    folder = work / f"llama_cpp_python-{version}"
    if not folder.is_dir():
        run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", PACKAGE,
            f"{PACKAGE}=={version}", cwd=work)
        with tarfile.open(work / f"llama_cpp_python-{version}.tar.gz") as archive:
            archive.extractall(work)
    return folder / "vendor" / "llama.cpp"


def build_driver(source, build, out, definitions):
    """A program linked against the llama.cpp (or ik_llama.cpp) in `source`, which is built into `build`."""
    libraries = {path.parent for name in ("libllama.so", "libggml.so") for path in build.rglob(name)}
    if not libraries:
        sys.exit(f"{build}: has no libllama.so")
    links = [flag for folder in sorted(libraries) for flag in (f"-L{folder}", f"-Wl,-rpath,{folder}")]
    run("g++", "-std=c++17", "-O2", *definitions, "-I", source / "include", "-I", source / "ggml" / "include",
        HERE / "driver.cc", "-o", out, *links, "-lllama", "-lggml",
        *(["-lggml-base"] if any(build.rglob("libggml-base.so")) else []))


def build_peer(name, source, work, isa, definitions):
    build = work / f"{name}-{isa}"
    print(f"building {name} ({isa})", file=sys.stderr, flush=True)
    if not any(build.rglob("libllama.so")):
        cache = ["-DCMAKE_C_COMPILER_LAUNCHER=ccache", "-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"]
        run("cmake", "-S", source, "-B", build, "-G", "Ninja", *LIBRARY_ONLY, *INSTRUCTION_SETS[isa],
            *(cache if shutil.which("ccache") else []))
        run("cmake", "--build", build, "--target", "llama", "--parallel", os.cpu_count())
    program = work / f"driver-{name}-{isa}"
    build_driver(source, build, program, definitions)
    return program


def commit_of(source):
    result = subprocess.run(["git", "-C", str(source), "rev-parse", "HEAD"], capture_output=True, text=True)
    return result.stdout.strip() or "unknown commit"


def build_peers(work, isa, version, ik_source):
    """{name: (program, version)}."""
    work.mkdir(parents=True, exist_ok=True)
    source = llama_cpp_source(work, version)
    peers = {"llama.cpp": (build_peer("llama.cpp", source, work, isa, []), f"{PACKAGE} {version}")}
    if ik_source:
        program = build_peer("ik_llama.cpp", ik_source, work, isa, ["-DPEER_IK"])
        peers["ik_llama.cpp"] = (program, f"commit {commit_of(ik_source)}")
    return peers
