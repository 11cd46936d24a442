//! Memory of the caller's: texts, lists, and structs whose first field says how many bytes the caller knows of them.

use std::ffi::{CStr, c_char};
use std::mem::{MaybeUninit, size_of};

use crate::failure::Failure;
use crate::status::StrixStatus;

/// Something of the caller's is `NULL` that must not be.
pub(crate) fn null(name: &str) -> Failure {
    Failure::new(StrixStatus::NullPointer, format!("{name} is NULL"))
}

/// The handle behind a pointer.
pub(crate) fn handle<'a, T>(pointer: Option<&'a T>, name: &str) -> Result<&'a T, Failure> {
    pointer.ok_or_else(|| null(name))
}

/// The handle that a struct of options names; `NULL` names none.
pub(crate) fn borrowed<'a, T>(pointer: *const T) -> Option<&'a T> {
    // SAFETY: the header asks for NULL or for a handle of the library's that is not freed during the call.
    unsafe { pointer.as_ref() }
}

/// The place of a result, which is `NULL` as long as there is none.
pub(crate) fn place<'a, T>(
    out: Option<&'a mut MaybeUninit<Option<Box<T>>>>,
    name: &str,
) -> Result<&'a mut MaybeUninit<Option<Box<T>>>, Failure> {
    let out = out.ok_or_else(|| null(name))?;
    out.write(None);
    Ok(out)
}

/// A text that has to be there.
pub(crate) fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str, Failure> {
    optional_text(pointer, name)?.ok_or_else(|| null(name))
}

/// A text, or `NULL`.
pub(crate) fn optional_text<'a>(pointer: *const c_char, name: &str) -> Result<Option<&'a str>, Failure> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the header asks for NULL or for a text that ends with a zero byte and does not change during the call.
    let text = unsafe { CStr::from_ptr(pointer) };
    let wrong = |error: std::str::Utf8Error| {
        let at = error.valid_up_to();
        Failure::new(StrixStatus::BadText, format!("{name} is not UTF-8: byte {at} of it is wrong"))
    };
    text.to_str().map(Some).map_err(wrong)
}

/// A list of so many; of none, the pointer may be `NULL`.
pub(crate) fn list<'a, T>(pointer: *const T, number: usize, name: &str) -> Result<&'a [T], Failure> {
    if number == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(null(name));
    }
    if number.checked_mul(size_of::<T>()).is_none_or(|bytes| isize::try_from(bytes).is_err()) {
        return Err(Failure::new(
            StrixStatus::OutOfRange,
            format!("{name} has {number} elements: memory holds fewer"),
        ));
    }
    // SAFETY: the header asks for a pointer to so many, which do not change during the call; it is not NULL, and they are
    // no more bytes than there can be.
    Ok(unsafe { std::slice::from_raw_parts(pointer, number) })
}

/// Writes a list to memory of the caller's that has room for so many: all that fit. How many there are is told in any case.
pub(crate) fn write_list<T: Copy>(
    values: &[T],
    pointer: *mut T,
    room: usize,
    number: Option<&mut MaybeUninit<usize>>,
) -> Result<(), Failure> {
    if let Some(number) = number {
        number.write(values.len());
    }
    if room == 0 {
        return Ok(());
    }
    if pointer.is_null() {
        return Err(null("the memory for the result"));
    }
    // SAFETY: the header asks for room for so many at this address, which is not NULL and not ours.
    unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), pointer, values.len().min(room)) };
    Ok(())
}

/// A struct that begins with its size in bytes, as the caller knows it.
///
/// # Safety
///
/// It is `repr(C)`, begins with a `usize`, and has no padding.
pub(crate) unsafe trait Versioned: Copy {
    /// Its name in the header.
    const NAME: &'static str;
}

/// One that the caller gives. Those that are only filled may have enums, which not all bytes are valid for.
///
/// # Safety
///
/// It is valid whatever its bytes behind the size are, zeros too, as far as the caller keeps to the header.
pub(crate) unsafe trait Given: Versioned {}

/// Reads a struct of options: all zeros but for what the caller knows. `NULL` is all zeros.
pub(crate) fn options<T: Given>(pointer: *const T) -> Result<T, Failure> {
    // SAFETY: all zeros are valid for it.
    let mut known: T = unsafe { std::mem::zeroed() };
    if pointer.is_null() {
        return Ok(known);
    }
    let size = size_of_caller::<T>(pointer)?;
    let read = size.min(size_of::<T>());
    // SAFETY: the header asks for a struct of `size` bytes at this address. So many of them are read as `known` has, and
    // any bytes are valid for it.
    unsafe { std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut known).cast::<u8>(), read) };
    // SAFETY: the same struct; its bytes behind those that are known here.
    let unknown = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>().add(read), size - read) };
    if unknown.iter().any(|&byte| byte != 0) {
        return Err(Failure::new(
            StrixStatus::StructSize,
            format!(
                "{} has {size} bytes, this library knows {read} of them, and what is behind these is not zero: it asks for \
                 something newer than the library",
                T::NAME
            ),
        ));
    }
    Ok(known)
}

/// The size of a struct that can be filled.
pub(crate) fn fillable<T: Versioned>(out: *const T) -> Result<usize, Failure> {
    if out.is_null() {
        return Err(null(T::NAME));
    }
    size_of_caller::<T>(out)
}

/// Fills a struct of the caller's, as far as the caller knows it; what the library does not know of it becomes zero.
pub(crate) fn fill<T: Versioned>(out: *mut T, value: T) -> Result<(), Failure> {
    let size = fillable(out.cast_const())?;
    let known = size.min(size_of::<T>());
    let head = size_of::<usize>();
    // SAFETY: the header asks for a struct of `size` bytes at this address that may be written to. Its first field, which
    // is the caller's, stays; `known` is at least as long, and no longer than `value`.
    unsafe {
        let bytes = out.cast::<u8>();
        std::ptr::write_bytes(bytes.add(head), 0, size - head);
        std::ptr::copy_nonoverlapping(
            (&raw const value).cast::<u8>().add(head),
            bytes.add(head),
            known - head,
        );
    }
    Ok(())
}

/// The size that a struct of the caller's says it has.
fn size_of_caller<T: Versioned>(pointer: *const T) -> Result<usize, Failure> {
    /// No struct of any version comes near it: a size beyond is a size that was never set.
    const MOST: usize = 4096;
    let least = size_of::<usize>();
    // SAFETY: the header asks for a pointer to a struct that begins with its size.
    let size = unsafe { pointer.cast::<usize>().read() };
    if (least..=MOST).contains(&size) {
        return Ok(size);
    }
    Err(Failure::new(
        StrixStatus::StructSize,
        format!("the field size of {} is {size}: set it to sizeof({})", T::NAME, T::NAME),
    ))
}

/// An enum of the header: its values are 0, 1, 2 and so on.
///
/// # Safety
///
/// It is `repr(i32)`, and has a variant for each value from 0 to below `NUMBER`.
pub(crate) unsafe trait Choice: Copy {
    /// Its name in the header.
    const NAME: &'static str;
    /// Number of its values.
    const NUMBER: i32;
}

/// What number the caller gave for an enum.
pub(crate) fn number<T>(raw: MaybeUninit<T>) -> i32 {
    const { assert!(size_of::<T>() == size_of::<i32>()) };
    // SAFETY: it is as large as an `i32`, and came from the caller with all its bytes.
    unsafe { raw.as_ptr().cast::<i32>().read() }
}

/// The value of an enum that the caller set to whatever number.
pub(crate) fn choice<T: Choice>(raw: MaybeUninit<T>) -> Result<T, Failure> {
    let number = number(raw);
    if !(0..T::NUMBER).contains(&number) {
        let range = format!("0 to {}", T::NUMBER - 1);
        return Err(Failure::new(
            StrixStatus::OutOfRange,
            format!("{} is {number}; it can be {range}", T::NAME),
        ));
    }
    // SAFETY: one of its values, as was just seen.
    Ok(unsafe { raw.assume_init() })
}

/// Says of enums that C may give any number for them.
macro_rules! choices {
    ($($name:ident: $number:literal),* $(,)?) => {
        $(
            // SAFETY: `repr(i32)`, with values from 0 on; the last is compared.
            unsafe impl crate::raw::Choice for $name {
                const NAME: &'static str = stringify!($name);
                const NUMBER: i32 = $number;
            }
        )*
    };
}

/// Says of structs that they begin with their size, and are filled.
macro_rules! filled {
    ($($name:ident),* $(,)?) => {
        $(
            // SAFETY: `repr(C)`, `size` first; that it has no padding is seen when the layout is checked.
            unsafe impl crate::raw::Versioned for $name {
                const NAME: &'static str = stringify!($name);
            }
        )*
    };
}

/// Says of structs that they begin with their size, and are given by the caller.
macro_rules! given {
    ($($name:ident),* $(,)?) => {
        crate::raw::filled!($($name),*);
        $(
            // SAFETY: of numbers, pointers, optional functions, and enums within `MaybeUninit`.
            unsafe impl crate::raw::Given for $name {}
        )*
    };
}

pub(crate) use {choices, filled, given};

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Old {
        size: usize,
        a: u64,
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct New {
        size: usize,
        a: u64,
        b: u64,
    }

    given!(Old, New);

    #[test]
    fn a_smaller_struct_has_zeros_for_what_it_lacks() {
        let old = Old { size: size_of::<Old>(), a: 7 };
        let read = options((&raw const old).cast::<New>()).unwrap();
        assert_eq!((read.a, read.b), (7, 0));
        assert_eq!(options(std::ptr::null::<New>()).unwrap().a, 0);
    }

    #[test]
    fn a_larger_struct_is_read_if_its_tail_is_zero() {
        let mut new = New { size: size_of::<New>(), a: 7, b: 0 };
        assert_eq!(options((&raw const new).cast::<Old>()).unwrap().a, 7);
        new.b = 1 << 60;
        let refused = options((&raw const new).cast::<Old>()).err().unwrap();
        assert_eq!(refused.status, StrixStatus::StructSize);
        assert!(refused.message.contains("24 bytes, this library knows 16"), "{}", refused.message);
    }

    #[test]
    fn a_size_that_was_not_set_is_refused() {
        for size in [0, 7, 4097, usize::MAX] {
            let old = Old { size, a: 0 };
            let refused = options(&raw const old).err().unwrap();
            assert!(refused.message.contains("sizeof(Old)"), "{}", refused.message);
        }
    }

    #[test]
    fn a_result_is_cut_to_what_the_caller_knows_and_the_rest_is_zero() {
        let mut new = New { size: size_of::<New>(), a: 1, b: 2 };
        fill((&raw mut new).cast::<Old>(), Old { size: 0, a: 7 }).unwrap();
        assert_eq!((new.size, new.a, new.b), (24, 7, 0));
        let mut bytes = [New { size: size_of::<Old>(), a: 1, b: 2 }];
        fill(bytes.as_mut_ptr(), New { size: 0, a: 7, b: 9 }).unwrap();
        assert_eq!((bytes[0].size, bytes[0].a, bytes[0].b), (16, 7, 2));
    }

    #[test]
    fn a_struct_with_an_enum_is_not_read() {
        /// There are two ways to it for what is [`Given`], which the compiler refuses to choose between.
        trait OnlyFilled<Way> {
            const IS: bool = true;
        }
        impl<T: Versioned> OnlyFilled<()> for T {}
        impl<T: Given> OnlyFilled<u8> for T {}
        use crate::{
            answer::StrixAnswerInfo, device::StrixDeviceInfo, plan::StrixPlanPart, remedy::StrixRemedy,
        };
        const {
            assert!(<StrixAnswerInfo as OnlyFilled<_>>::IS && <StrixDeviceInfo as OnlyFilled<_>>::IS);
            assert!(<StrixPlanPart as OnlyFilled<_>>::IS && <StrixRemedy as OnlyFilled<_>>::IS);
        }
    }

    #[test]
    fn texts_and_lists_are_refused_with_their_name() {
        let refused = text(c"caf\xe9".as_ptr(), "question").err().unwrap();
        assert_eq!(
            (refused.status, refused.message.as_str()),
            (StrixStatus::BadText, "question is not UTF-8: byte 3 of it is wrong")
        );
        assert_eq!(text(std::ptr::null(), "question").err().unwrap().message, "question is NULL");
        assert!(list::<u32>(std::ptr::null(), 0, "ids").unwrap().is_empty());
        assert_eq!(list::<u32>(std::ptr::null(), 1, "ids").err().unwrap().message, "ids is NULL");
        let one = 1;
        let many = list::<u32>(&raw const one, usize::MAX, "ids").err().unwrap();
        assert_eq!(many.status, StrixStatus::OutOfRange);
    }
}
