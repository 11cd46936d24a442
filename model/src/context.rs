//! Limits on the length of a context. Several depend on it, and an error that names a length names one that all hold.

use crate::error::ContextLimit;
use crate::{Error, Result};

/// A context that something does not hold.
#[derive(Debug)]
pub(crate) struct TooLong {
    /// Positions that were asked for.
    pub ctx: u32,
    /// The most positions that this limit holds.
    pub most: u64,
    /// The limit.
    pub limit: ContextLimit,
}

impl TooLong {
    /// The error that names the most positions that every limit holds.
    fn error(self, most: u64) -> Error {
        let longest = u32::try_from(most).unwrap_or(u32::MAX);
        Error::ContextTooLong { ctx: self.ctx, longest, limit: self.limit }
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
        let most = long.most;
        long.error(most)
    }
}

/// Plans for a context. If that is too long, the error names a length that fits.
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
    Err(long.error(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A limit of so many positions, told from others by its trips.
    fn too_long(ctx: u32, most: u32) -> Refused {
        let limit = ContextLimit::Loops { trips: most.into(), limit: 0 };
        TooLong { ctx, most: most.into(), limit }.into()
    }

    #[track_caller]
    fn refused<T: std::fmt::Debug>(planned: Result<T>, at: u64, named: u32) {
        match planned.unwrap_err() {
            Error::ContextTooLong { longest, limit: ContextLimit::Loops { trips, .. }, .. } => {
                assert_eq!((trips, longest), (at, named));
            }
            error => panic!("{error:?}"),
        }
    }

    #[test]
    fn the_length_that_is_named_is_one_that_every_limit_holds() {
        let plan = |ctx| match ctx {
            ..=40 => Ok(ctx),
            41..=300 => Err(too_long(ctx, 40)),
            301..=1000 => Err(too_long(ctx, 300)),
            _ => Err(too_long(ctx, 1000)),
        };
        assert_eq!(planned(40, plan).unwrap(), 40);
        refused(planned(5000, plan), 1000, 40);
        refused(planned(200, plan), 40, 40);
        // A limit that names what it does not hold itself ends nevertheless.
        refused(planned(9, |ctx| Err::<(), _>(too_long(ctx, 9))), 9, 0);
    }

    #[test]
    fn what_no_shorter_context_mends_is_said() {
        let plan = |ctx| match ctx {
            0..=100 => Err::<(), _>(Refused::Other(Error::Option("no memory".into()))),
            _ => Err(too_long(ctx, 100)),
        };
        assert_eq!(planned(200, plan).unwrap_err().to_string(), "no memory");
    }
}
