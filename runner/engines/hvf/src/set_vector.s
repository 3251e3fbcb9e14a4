// hv_return_t samovar_set_vector(hv_vcpu_t vcpu, hv_simd_fp_reg_t reg, const uint8_t value[16])
// The framework takes the value in a vector register (hv_simd_fp_uchar16_t; Arm AAPCS64, 6.8.2), which no stable Rust
// passes. The first two arguments are in their places already.
.globl _samovar_set_vector
.p2align 2
_samovar_set_vector:
    ldr q0, [x2]
    b _hv_vcpu_set_simd_fp_reg
