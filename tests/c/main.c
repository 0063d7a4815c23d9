/* kvcache_c_tests [NAME]: runs the test of that name, or all, one after the other. */
#include "test.h"

static test *tests = NULL;

void add_test(test *added) {
  added->next = tests;
  tests = added;
}

int main(int argc, char **argv) {
  size_t ran = 0;
  for (const test *at = tests; at != NULL; at = at->next) {
    if (argc < 2 || strcmp(argv[1], at->name) == 0) {
      printf("%s\n", at->name);
      fflush(stdout);
      at->run();
      ++ran;
    }
  }
  if (ran == 0) {
    fprintf(stderr, "there is no test %s\n", argc < 2 ? "at all" : argv[1]);
    return 1;
  }
  return 0;
}
