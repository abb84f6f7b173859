/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FL_ERROR_H
#define FL_ERROR_H

/* Codes that functions return; the text goes to the caller's fl_error. Python makes exceptions of them (_native.py). */
enum fl_code {
    FL_OK = 0,
    FL_ERR_MEMORY = -1,
    FL_ERR_CAPTURE = -2,        /* malformed, truncated or unsupported capture */
    FL_ERR_PROGRAM = -3,        /* a program that the verifier refuses */
    FL_ERR_ARGUMENT = -4,       /* the caller's mistake */
    FL_ERR_EXTENSION = -5,      /* a callback (regular expressions) failed */
    FL_ERR_SYSTEM = -6,         /* the machine doesn't give what was asked for */
    FL_ERR_PROBE = -7,          /* the kernel refuses something that live capture needs */
};

struct fl_error {
    int code;
    char text[240];
};

/* Sets *error (which may be NULL) and returns the code. */
int fl_fail(struct fl_error *error, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
