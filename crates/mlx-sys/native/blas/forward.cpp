// The LAPACK names that libmlx imports, each a jump to the same function of the OpenBLAS wheel, whose names
// carry a `scipy_` prefix. Jumps need no signatures and keep every argument, also Fortran's hidden string lengths.
// Loaded globally before libmlx, this library's names win over those of the reference LAPACK that libmlx brings along.

#if defined(__x86_64__)
#define FORWARD(name)                        \
  asm(".text\n"                              \
      ".p2align 4\n"                         \
      ".globl " #name "\n"                   \
      ".type " #name ", @function\n" #name   \
      ":\n"                                  \
      "  endbr64\n"                          \
      "  jmp scipy_" #name "@PLT\n"          \
      ".size " #name ", . - " #name "\n");
#elif defined(__aarch64__)
#define FORWARD(name)                        \
  asm(".text\n"                              \
      ".p2align 4\n"                         \
      ".globl " #name "\n"                   \
      ".type " #name ", %function\n" #name   \
      ":\n"                                  \
      "  hint 34\n" /* bti c */              \
      "  b scipy_" #name "\n"                \
      ".size " #name ", . - " #name "\n");
#else
#error "no BLAS forwarders for this processor"
#endif

FORWARD(sgetrf_)
FORWARD(dgetrf_)
FORWARD(sgetri_)
FORWARD(dgetri_)
FORWARD(sgeqrf_)
FORWARD(dgeqrf_)
FORWARD(sorgqr_)
FORWARD(dorgqr_)
FORWARD(spotrf_)
FORWARD(dpotrf_)
FORWARD(strtri_)
FORWARD(dtrtri_)
FORWARD(sgesdd_)
FORWARD(dgesdd_)
FORWARD(cgesdd_)
FORWARD(ssyevd_)
FORWARD(dsyevd_)
FORWARD(cheevd_)
FORWARD(sgeev_)
FORWARD(dgeev_)
FORWARD(cgeev_)
