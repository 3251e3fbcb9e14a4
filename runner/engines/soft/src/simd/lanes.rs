//! A vector register as lanes. Element 0 is the least significant (Arm ARM A1.4.1).
//!
//! Registers are read and written through arrays of elements rather than by shifting a `u128`: only
//! then does the compiler turn a loop over lanes into the host's vector instructions.

use std::array::from_fn;

#[cfg(target_endian = "big")]
compile_error!("lanes are read from registers in the host's byte order, which must be little-endian");

/// An element type, with the arithmetic that vector instructions do on it.
pub(super) trait Lane: Copy + Ord + 'static {
    /// All lanes of a register.
    type Vector: Copy + AsRef<[Self]> + AsMut<[Self]>;

    /// Width in bits.
    const BITS: u32;
    const ZERO: Self;
    /// All bits set: what a comparison that holds gives.
    const ONES: Self;

    fn load(register: &u128) -> Self::Vector;
    fn store(lanes: Self::Vector, register: &mut u128);
    /// Computes each lane from its number.
    fn from_lanes(f: impl Fn(usize) -> Self) -> Self::Vector;
    /// The same element all over.
    fn splat(self) -> Self::Vector;
    /// Applies `f` to each element.
    fn map(a: Self::Vector, f: impl Fn(Self) -> Self) -> Self::Vector;
    /// Applies `f` to pairs of elements.
    fn zip(a: Self::Vector, b: Self::Vector, f: impl Fn(Self, Self) -> Self) -> Self::Vector;
    /// Applies `f` to triples of elements.
    fn zip3(
        a: Self::Vector,
        b: Self::Vector,
        c: Self::Vector,
        f: impl Fn(Self, Self, Self) -> Self,
    ) -> Self::Vector;

    /// The bits, zero-extended.
    fn raw(self) -> u64;
    fn from_raw(bits: u64) -> Self;
    fn wide(self) -> i128;
    /// Keeps the low bits.
    fn truncate(value: i128) -> Self;
    /// The nearest value in range.
    fn saturate(value: i128) -> Self;

    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn add_saturating(self, other: Self) -> Self;
    fn sub_saturating(self, other: Self) -> Self;
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    /// `by` below the width.
    fn shl(self, by: u32) -> Self;
    /// `by` below the width; copies the sign of a signed type.
    fn shr(self, by: u32) -> Self;

    #[inline]
    fn neg(self) -> Self {
        Self::ZERO.sub(self)
    }
    /// |a - b|, as the bits of an unsigned number.
    #[inline]
    fn distance(self, other: Self) -> Self {
        if self > other { self.sub(other) } else { other.sub(self) }
    }
    /// All ones or all zeros.
    #[inline]
    fn truth(holds: bool) -> Self {
        if holds { Self::ONES } else { Self::ZERO }
    }
}

/// An element type that has another of twice its width. Where a function is for `UPPER`, it reads
/// or writes the upper half of the narrow lanes: the form of an instruction that is named "2".
pub(super) trait Widen: Lane {
    type Wide: Lane;

    fn widen(self) -> Self::Wide;
    /// The low half of a wide element.
    fn low(wide: Self::Wide) -> Self;
    /// Applies `f` to pairs of widened elements.
    fn zip_long<const UPPER: bool>(
        a: Self::Vector,
        b: Self::Vector,
        f: impl Fn(Self::Wide, Self::Wide) -> Self::Wide,
    ) -> <Self::Wide as Lane>::Vector;
    /// Applies `f` to wide elements and widened ones.
    fn zip_wide<const UPPER: bool>(
        a: <Self::Wide as Lane>::Vector,
        b: Self::Vector,
        f: impl Fn(Self::Wide, Self::Wide) -> Self::Wide,
    ) -> <Self::Wide as Lane>::Vector;
    /// Applies `f` to wide elements and pairs of widened ones.
    fn zip3_long<const UPPER: bool>(
        acc: <Self::Wide as Lane>::Vector,
        a: Self::Vector,
        b: Self::Vector,
        f: impl Fn(Self::Wide, Self::Wide, Self::Wide) -> Self::Wide,
    ) -> <Self::Wide as Lane>::Vector;
    /// Makes narrow elements of pairs of wide ones, and writes them to one half of a register: to the
    /// lower one with the upper one zeroed, or to the upper one with the lower one kept.
    fn zip_narrow<const UPPER: bool>(
        a: <Self::Wide as Lane>::Vector,
        b: <Self::Wide as Lane>::Vector,
        register: &mut u128,
        f: impl Fn(Self::Wide, Self::Wide) -> Self,
    );
    /// The sums of each two neighbours, widened.
    fn sum_pairs(a: Self::Vector) -> <Self::Wide as Lane>::Vector;

    /// Makes narrow elements of wide ones; see [`Widen::zip_narrow`].
    #[inline(always)]
    fn narrow<const UPPER: bool>(
        a: <Self::Wide as Lane>::Vector,
        register: &mut u128,
        f: impl Fn(Self::Wide) -> Self,
    ) {
        Self::zip_narrow::<UPPER>(a, a, register, |a, _| f(a));
    }
}

macro_rules! lane {
    ($t:ident, $raw:ident) => {
        impl Lane for $t {
            type Vector = [$t; 128 / $t::BITS as usize];
            const BITS: u32 = $t::BITS;
            const ZERO: Self = 0;
            const ONES: Self = !0;

            #[inline(always)]
            fn load(register: &u128) -> Self::Vector {
                // SAFETY: both types are 16 bytes of plain integers, the source the stricter aligned.
                unsafe { *std::ptr::from_ref(register).cast() }
            }
            #[inline(always)]
            fn store(lanes: Self::Vector, register: &mut u128) {
                // SAFETY: as in `load`.
                unsafe { *std::ptr::from_mut(register).cast() = lanes }
            }
            #[inline(always)]
            fn from_lanes(f: impl Fn(usize) -> Self) -> Self::Vector {
                // Not `array::from_fn`, which is left out of line when `f` is large.
                let mut lanes = [0; _];
                for (i, lane) in lanes.iter_mut().enumerate() {
                    *lane = f(i);
                }
                lanes
            }
            #[inline(always)]
            fn splat(self) -> Self::Vector {
                [self; _]
            }
            #[inline(always)]
            fn map(a: Self::Vector, f: impl Fn(Self) -> Self) -> Self::Vector {
                from_fn(|i| f(a[i]))
            }
            #[inline(always)]
            fn zip(a: Self::Vector, b: Self::Vector, f: impl Fn(Self, Self) -> Self) -> Self::Vector {
                from_fn(|i| f(a[i], b[i]))
            }
            #[inline(always)]
            fn zip3(
                a: Self::Vector,
                b: Self::Vector,
                c: Self::Vector,
                f: impl Fn(Self, Self, Self) -> Self,
            ) -> Self::Vector {
                from_fn(|i| f(a[i], b[i], c[i]))
            }

            #[inline]
            fn raw(self) -> u64 {
                self as $raw as u64
            }
            #[inline]
            fn from_raw(bits: u64) -> Self {
                bits as $t
            }
            #[inline]
            fn wide(self) -> i128 {
                self as i128
            }
            #[inline]
            fn truncate(value: i128) -> Self {
                value as $t
            }
            #[inline]
            fn saturate(value: i128) -> Self {
                value.clamp($t::MIN as i128, $t::MAX as i128) as $t
            }
            #[inline]
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline]
            fn sub(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            #[inline]
            fn mul(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            #[inline]
            fn add_saturating(self, other: Self) -> Self {
                self.saturating_add(other)
            }
            #[inline]
            fn sub_saturating(self, other: Self) -> Self {
                self.saturating_sub(other)
            }
            #[inline]
            fn and(self, other: Self) -> Self {
                self & other
            }
            #[inline]
            fn or(self, other: Self) -> Self {
                self | other
            }
            #[inline]
            fn xor(self, other: Self) -> Self {
                self ^ other
            }
            #[inline]
            fn shl(self, by: u32) -> Self {
                self.wrapping_shl(by)
            }
            #[inline]
            fn shr(self, by: u32) -> Self {
                self.wrapping_shr(by)
            }
        }
    };
}

macro_rules! widen {
    ($t:ident, $wide:ident) => {
        impl Widen for $t {
            type Wide = $wide;

            #[inline]
            fn widen(self) -> $wide {
                $wide::from(self)
            }
            #[inline]
            fn low(wide: $wide) -> Self {
                wide as $t
            }
            #[inline(always)]
            fn zip_long<const UPPER: bool>(
                a: Self::Vector,
                b: Self::Vector,
                f: impl Fn($wide, $wide) -> $wide,
            ) -> <$wide as Lane>::Vector {
                const HALF: usize = 64 / $t::BITS as usize;
                if UPPER {
                    from_fn(|i| f($wide::from(a[HALF + i]), $wide::from(b[HALF + i])))
                } else {
                    from_fn(|i| f($wide::from(a[i]), $wide::from(b[i])))
                }
            }
            #[inline(always)]
            fn zip_wide<const UPPER: bool>(
                a: <$wide as Lane>::Vector,
                b: Self::Vector,
                f: impl Fn($wide, $wide) -> $wide,
            ) -> <$wide as Lane>::Vector {
                const HALF: usize = 64 / $t::BITS as usize;
                if UPPER {
                    from_fn(|i| f(a[i], $wide::from(b[HALF + i])))
                } else {
                    from_fn(|i| f(a[i], $wide::from(b[i])))
                }
            }
            #[inline(always)]
            fn zip3_long<const UPPER: bool>(
                acc: <$wide as Lane>::Vector,
                a: Self::Vector,
                b: Self::Vector,
                f: impl Fn($wide, $wide, $wide) -> $wide,
            ) -> <$wide as Lane>::Vector {
                const HALF: usize = 64 / $t::BITS as usize;
                if UPPER {
                    from_fn(|i| f(acc[i], $wide::from(a[HALF + i]), $wide::from(b[HALF + i])))
                } else {
                    from_fn(|i| f(acc[i], $wide::from(a[i]), $wide::from(b[i])))
                }
            }
            #[inline(always)]
            fn zip_narrow<const UPPER: bool>(
                a: <$wide as Lane>::Vector,
                b: <$wide as Lane>::Vector,
                register: &mut u128,
                f: impl Fn($wide, $wide) -> $t,
            ) {
                const HALF: usize = 64 / $t::BITS as usize;
                // SAFETY: as in `store`.
                let lanes: &mut Self::Vector = unsafe { &mut *std::ptr::from_mut(register).cast() };
                if UPPER {
                    for i in 0..HALF {
                        lanes[HALF + i] = f(a[i], b[i]);
                    }
                } else {
                    for i in 0..HALF {
                        lanes[i] = f(a[i], b[i]);
                    }
                    lanes[HALF..].fill(0);
                }
            }
            #[inline(always)]
            fn sum_pairs(a: Self::Vector) -> <$wide as Lane>::Vector {
                from_fn(|i| $wide::from(a[2 * i]).wrapping_add($wide::from(a[2 * i + 1])))
            }
        }
    };
}

lane!(u8, u8);
lane!(u16, u16);
lane!(u32, u32);
lane!(u64, u64);
lane!(i8, u8);
lane!(i16, u16);
lane!(i32, u32);
lane!(i64, u64);

widen!(u8, u16);
widen!(u16, u32);
widen!(u32, u64);
widen!(i8, i16);
widen!(i16, i32);
widen!(i32, i64);
