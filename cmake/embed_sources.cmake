# cmake -DOUTPUT=... -DFOLDER=... "-DFILES=a.cuh;b/c.cuh" -DHEADER=kernels/cuda/sources.h
#   -DNAMESPACE=redline::kernels::cuda [-DCOMPLETE=ON] -P: a C++ file whose function source() gives a
# file's text by its name. There is none for other names; with COMPLETE asking for one is a bug.
set(text "// Generated from the folder's files.
#include \"${HEADER}\"

#include \"base/status.h\"

namespace ${NAMESPACE} {

std::string_view source([[maybe_unused]] std::string_view path) {
")
foreach(file ${FILES})
  file(READ ${FOLDER}/${file} content)
  # A literal may hold at most 64 KB for some compilers: neighbours are joined.
  string(LENGTH "${content}" length)
  set(pieces "")
  set(at 0)
  while(at LESS length)
    string(SUBSTRING "${content}" ${at} 8000 piece)
    string(APPEND pieces "\nR\"redline~(${piece})redline~\"")
    math(EXPR at "${at} + 8000")
  endwhile()
  string(APPEND text "  if (path == \"${file}\") return ${pieces};\n")
endforeach()
if(COMPLETE)
  string(APPEND text "  REDLINE_ASSERT(!\"a text of that name\");\n")
endif()
string(APPEND text "  return {};
}

}  // namespace ${NAMESPACE}
")
file(WRITE ${OUTPUT} "${text}")
