# cmake -DROOT=... -DOUT=... -P: writes a source file that holds a hash of the code that trains and measures. Rows of an
# experiment (train/reproduce/rows.h) carry it: a row of other code is not taken for this one's.
file(GLOB_RECURSE files ${ROOT}/train/*.h ${ROOT}/train/*.cc ${ROOT}/moe/*.h ${ROOT}/moe/*.cc
     ${ROOT}/analyze/device_step.*)
list(FILTER files EXCLUDE REGEX "(_test\\.cc|_fuzz\\.cc|/test_[^/]*\\.h|/main\\.cc)$")
list(FILTER files EXCLUDE REGEX "/train/reproduce/(reproduce|result|rows|compare|plan)\\.")
list(SORT files)
set(all "")
foreach(file IN LISTS files)
  file(SHA256 ${file} hash)
  string(APPEND all "${hash}\n")
endforeach()
string(SHA256 hash "${all}")
set(text "namespace junto {\nextern const char* const kTrainingSources;\nconst char* const kTrainingSources = \"${hash}\";\n}\n")
file(CONFIGURE OUTPUT ${OUT} CONTENT "${text}" @ONLY)
