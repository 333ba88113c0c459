#define REELFOLIO_ROUND_ROW round_row_ref
#define REELFOLIO_VECTOR_BYTES 16
#include "engine/kernels/round_row.inc"
