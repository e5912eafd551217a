// SPDX-License-Identifier: Apache-2.0
#pragma once

// Linked into a program, counts every allocation of the process, on whatever thread; operator new
// ends there too. Under a sanitizer nothing is counted.
namespace redline {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kCountsMallocs = false;
#else
inline constexpr bool kCountsMallocs = true;
#endif

long malloc_count();

}  // namespace redline
