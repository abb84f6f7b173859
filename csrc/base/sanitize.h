/* SPDX-License-Identifier: Apache-2.0
 *
 * FL_SANITIZE_ADDRESS: 1 in a build with AddressSanitizer. Memory is then given back at once, where it would be kept for the next one, so
 * that a use after the release is seen.
 */
#ifndef FL_SANITIZE_H
#define FL_SANITIZE_H

#ifdef __SANITIZE_ADDRESS__     /* gcc */
#define FL_SANITIZE_ADDRESS 1
#elif defined __has_feature     /* clang */
#if __has_feature(address_sanitizer)
#define FL_SANITIZE_ADDRESS 1
#endif
#endif
#ifndef FL_SANITIZE_ADDRESS
#define FL_SANITIZE_ADDRESS 0
#endif

#endif
