/* SPDX-License-Identifier: Apache-2.0
 *
 * What the fuzz targets of the engine share: the program that FUZZ_PROGRAM names, and its regular expressions.
 */
#ifndef FL_FUZZ_RULES_H
#define FL_FUZZ_RULES_H

#include <stdio.h>
#include <stdlib.h>

#include "../../falcolib.h"

static volatile uint64_t sink;
static fl_program *program;

static void check(int holds)
{
    if (!holds)
        abort();
}

static int regex(void *handle, uint32_t pattern, const char *subject, size_t len)
{
    (void)handle;
    for (size_t i = 0; i < len; i++)
        sink += (unsigned char)subject[i];
    return (int)((pattern + len) % 2);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *path = getenv("FUZZ_PROGRAM");
    static char bytes[4 << 20];
    fl_error_text error = {0};

    (void)argc, (void)argv;
    FILE *file = path ? fopen(path, "rb") : NULL;
    size_t len = file ? fread(bytes, 1, sizeof bytes, file) : 0;
    program = fl_program_load(bytes, len, &error);
    if (file)
        fclose(file);
    if (!program) {
        fprintf(stderr, "FUZZ_PROGRAM: %s\n", error.text);
        exit(1);
    }
    return 0;
}

#endif
