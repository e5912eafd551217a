# cmake -DOUTPUT=... -DFOLDER=... "-DFILES=a.cuh;b/c.cuh" -P: a C++ file that holds the files' text.
set(text "// Generated from the folder's files.
#include \"kernels/cuda/sources.h\"

#include \"base/status.h\"

namespace redline::kernels::cuda {

std::string_view source(std::string_view path) {
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
string(APPEND text "  REDLINE_ASSERT(!\"a kernel source of that name\");
  return {};
}

}  // namespace redline::kernels::cuda
")
file(WRITE ${OUTPUT} "${text}")
