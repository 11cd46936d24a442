//! Limits on the length of a context. Several depend on it, and an error that names a length names one that all hold.

use std::fmt;

use crate::{Error, Result};

/// A context that something does not hold.
pub(crate) struct TooLong {
    /// The most positions that this limit holds.
    pub most: u64,
    /// What is said, with the most positions that every limit holds.
    pub words: Box<dyn Fn(u64) -> String>,
}

impl fmt::Debug for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&(self.words)(self.most))
    }
}

/// Why a model is not planned.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The context is too long.
    TooLong(TooLong),
    /// Something that no shorter context mends.
    Other(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<TooLong> for Refused {
    fn from(long: TooLong) -> Self {
        Self::TooLong(long)
    }
}

impl From<TooLong> for Error {
    fn from(long: TooLong) -> Self {
        Self::Option((long.words)(long.most))
    }
}

/// What is planned for a context. If that is too long, the error names a length that is not.
///
/// # Errors
///
/// Those of `plan`.
pub(crate) fn planned<T>(ctx: u32, plan: impl Fn(u32) -> std::result::Result<T, Refused>) -> Result<T> {
    let long = match plan(ctx) {
        Ok(planned) => return Ok(planned),
        Err(Refused::Other(error)) => return Err(error),
        Err(Refused::TooLong(long)) => long,
    };
    // Each limit names the most that it holds itself, and the next may hold less.
    let mut most = long.most;
    while let Some(shorter) = u32::try_from(most).ok().filter(|&shorter| shorter > 0) {
        match plan(shorter) {
            Err(Refused::TooLong(next)) => most = next.most.min(most - 1),
            // Fewer positions do not help.
            Err(Refused::Other(error)) => return Err(error),
            Ok(_) => break,
        }
    }
    Err(Error::Option((long.words)(most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn too_long(limit: u32, name: &'static str) -> Refused {
        TooLong { most: limit.into(), words: Box::new(move |most| format!("{name}: at most {most}")) }.into()
    }

    #[test]
    fn the_length_that_is_named_is_one_that_every_limit_holds() {
        let plan = |ctx| match ctx {
            ..=40 => Ok(ctx),
            41..=300 => Err(too_long(40, "memory")),
            301..=1000 => Err(too_long(300, "bindings")),
            _ => Err(too_long(1000, "counters")),
        };
        assert_eq!(planned(40, plan).unwrap(), 40);
        assert_eq!(planned(5000, plan).unwrap_err().to_string(), "counters: at most 40");
        assert_eq!(planned(200, plan).unwrap_err().to_string(), "memory: at most 40");
        // A limit that names what it does not hold itself ends nevertheless.
        let never = |_| Err::<(), _>(too_long(9, "never"));
        assert_eq!(planned(9, never).unwrap_err().to_string(), "never: at most 0");
    }

    #[test]
    fn what_no_shorter_context_mends_is_said() {
        let plan = |ctx| match ctx {
            0..=100 => Err::<(), _>(Refused::Other(Error::Option("no memory".into()))),
            _ => Err(too_long(100, "bindings")),
        };
        assert_eq!(planned(200, plan).unwrap_err().to_string(), "no memory");
    }
}
