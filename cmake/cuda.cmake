# Says which backends this build has. REDLINE_CUDA=ON makes a missing toolkit an error.
if(REDLINE_CUDA STREQUAL "OFF")
  message(STATUS "redline: CUDA is switched off: building the CPU backend only")
else()
  find_package(CUDAToolkit QUIET)
  if(CUDAToolkit_FOUND)
    message(STATUS "redline: found CUDA toolkit ${CUDAToolkit_VERSION}, but this version has no "
      "CUDA backend: building the CPU backend only")
  elseif(REDLINE_CUDA STREQUAL "ON")
    message(FATAL_ERROR "REDLINE_CUDA=ON, but no CUDA toolkit was found")
  else()
    message(STATUS "redline: no CUDA toolkit found: building the CPU backend only")
  endif()
endif()
