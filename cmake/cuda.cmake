# Says where kernels for GPUs come from. The CUDA backend itself needs no toolkit to be built: it loads the
# driver, and NVRTC where engines are built. REDLINE_CUDA=ON makes a missing toolkit an error, OFF does not look.
if(NOT REDLINE_CUDA STREQUAL "OFF")
  find_package(CUDAToolkit QUIET)
  if(CUDAToolkit_FOUND)
    message(STATUS "redline: found CUDA toolkit ${CUDAToolkit_VERSION}, whose NVRTC compiles GPU kernels")
  elseif(REDLINE_CUDA STREQUAL "ON")
    message(FATAL_ERROR "REDLINE_CUDA=ON, but no CUDA toolkit was found")
  else()
    message(STATUS "redline: no CUDA toolkit found: building an engine for a GPU will want NVRTC "
      "(pip install nvidia-cuda-nvrtc)")
  endif()
endif()
