# Shared settings of our targets, and the folder-is-the-registry machinery.

add_library(redline_options INTERFACE)
target_include_directories(redline_options INTERFACE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
target_compile_options(redline_options INTERFACE -Wall -Wextra -Wno-missing-field-initializers
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)  # GCC 12 warns falsely inside std::string (PR 105651)
if(REDLINE_WERROR)
  target_compile_options(redline_options INTERFACE -Werror)
endif()
if(REDLINE_STATIC_RUNTIME)
  # The oneDNN module keeps the shared one, which libdnnl needs anyway.
  set(wants_static $<NOT:$<STREQUAL:$<TARGET_PROPERTY:NAME>,redline_onednn>>)
  target_link_options(redline_options INTERFACE
    $<${wants_static}:-static-libstdc++> $<${wants_static}:-static-libgcc>)
endif()
if(REDLINE_SANITIZE)
  target_compile_options(redline_options INTERFACE
    -fsanitize=${REDLINE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer
    -Wno-maybe-uninitialized)  # GCC 12 sees it in std::regex once that is instrumented
  target_link_options(redline_options INTERFACE -fsanitize=${REDLINE_SANITIZE})
endif()

# Code that runs once a build or a load, and not in an inference, is compiled to be small.
set(redline_small $<$<CONFIG:Release>:-Os>)

# redline_library(ops DEPS core): every .cc of the folder this is called from becomes redline::ops.
# SMALL: none of it is on the path of an inference.
function(redline_library name)
  cmake_parse_arguments(arg "SMALL" "" "DEPS;EXCLUDE;LIBS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  foreach(pattern ${arg_EXCLUDE})
    list(FILTER sources EXCLUDE REGEX ${pattern})
  endforeach()
  add_library(redline_${name} STATIC ${sources})
  add_library(redline::${name} ALIAS redline_${name})
  list(TRANSFORM arg_DEPS PREPEND redline::)
  target_link_libraries(redline_${name} PUBLIC redline_options ${arg_DEPS} ${arg_LIBS})
  if(arg_SMALL)
    target_compile_options(redline_${name} PRIVATE ${redline_small})
  endif()
endfunction()

# redline_table(ops FUNCTION register_op ARGUMENT OpRegistry HEADER ops/registry.h EXCLUDE ...):
# each remaining .cc of the folder (or of its FOLDERS) exports `void <FUNCTION>_<stem>(<ARGUMENT>&)`; the generated file
# defines `void <FUNCTION>_all(<ARGUMENT>&)`, which calls them all. Self-registering objects would be
# dropped by the linker from a static library.
function(redline_table name)
  cmake_parse_arguments(arg "" "FUNCTION;ARGUMENT;HEADER" "FOLDERS;EXCLUDE" ${ARGN})
  if(NOT arg_FOLDERS)
    set(arg_FOLDERS .)
  endif()
  list(TRANSFORM arg_FOLDERS REPLACE "(.+)" "${CMAKE_CURRENT_SOURCE_DIR}/\\1/*.cc")
  file(GLOB sources CONFIGURE_DEPENDS ${arg_FOLDERS})
  set(declarations "")
  set(calls "")
  foreach(source ${sources})
    get_filename_component(stem ${source} NAME_WE)
    if(NOT stem IN_LIST arg_EXCLUDE)
      string(APPEND declarations "void ${arg_FUNCTION}_${stem}(${arg_ARGUMENT}&);\n")
      string(APPEND calls "  ${arg_FUNCTION}_${stem}(table);\n")
    endif()
  endforeach()
  set(path ${CMAKE_CURRENT_BINARY_DIR}/${arg_FUNCTION}_table.cc)
  file(CONFIGURE OUTPUT ${path} CONTENT
"// Generated from the folder's file list.
#include \"${arg_HEADER}\"
namespace redline {
${declarations}
void ${arg_FUNCTION}_all(${arg_ARGUMENT}& table) {
  (void)table;
${calls}}
}  // namespace redline
")
  target_sources(redline_${name} PRIVATE ${path})
endfunction()

# redline_test(dim_test DEPS core): tests/<...>/dim_test.cc against GoogleTest, as a CTest test.
function(redline_test name)
  cmake_parse_arguments(arg "" "" "DEPS;LIBS" ${ARGN})
  add_executable(${name} ${name}.cc)
  list(TRANSFORM arg_DEPS PREPEND redline::)
  target_link_libraries(${name} PRIVATE redline_options ${arg_DEPS} ${arg_LIBS} GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  if(REDLINE_SANITIZE)
    # The leak check of GCC 12 reads a wild TLS block of libgomp's threads otherwise, and crashes.
    set_tests_properties(${name} PROPERTIES ENVIRONMENT ASAN_OPTIONS=intercept_tls_get_addr=0)
  endif()
endfunction()
