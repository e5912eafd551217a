// SPDX-License-Identifier: Apache-2.0
#pragma once

// Linked into a program, counts every allocation of the process, on whatever thread; operator new
// ends there too. Under a sanitizer nothing is counted.
namespace redline {

#ifdef __SANITIZE_ADDRESS__
inline constexpr bool kCountsMallocs = false;
#else
inline constexpr bool kCountsMallocs = true;
#endif

long malloc_count();

}  // namespace redline
