//! A budget in Redis, for all machines that know it.
//!
//! Everything is one script that Redis runs as a whole, on its own clock; from version 5 on a script may ask for the time before it
//! writes. A question is a connection: nothing is kept open during an attempt, and a server that was restarted is found again.

#[cfg(feature = "redis-tls")]
mod tls;
#[cfg(feature = "redis")]
mod wire;

use super::bucket::Numbers;
use super::{Change, Changed};
use crate::config::store::{Address, Place};

/// A bucket on a server.
#[derive(Clone)]
#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "nobody can connect to it"))]
pub(super) struct Redis {
    address: Address,
    key: String,
}

impl Redis {
    /// The bucket of a name.
    ///
    /// # Errors
    /// The name of the cargo feature that is missing.
    pub(super) fn new(address: Address, name: &str) -> Result<Redis, &'static str> {
        match address.place {
            Place::Tcp { tls: true, .. } if !cfg!(feature = "redis-tls") => Err("redis-tls"),
            Place::Tcp { .. } | Place::Unix(_) if !cfg!(feature = "redis") => Err("redis"),
            Place::Tcp { .. } | Place::Unix(_) => {
                Ok(Redis { address, key: format!("retryrun:budget:{name}") })
            }
        }
    }

    /// Changes what is in it; from now on `numbers` hold. Whether there was a token, where one is taken. It blocks, but not for longer
    /// than a look-up of the host's name and half a second take.
    ///
    /// # Errors
    /// Why it does not answer, without anything of the password.
    #[cfg(feature = "redis")]
    pub(super) fn change(&self, numbers: Numbers, change: Change) -> Result<Changed, String> {
        let mut connection = wire::Connection::open(&self.address.place)?;
        connection.log_in(&self.address)?;
        // The server's clock has microseconds.
        let token = numbers.token().div_ceil(1_000);
        let share = match change {
            Change::Take => -1,
            Change::PutBack(percent) => i128::from(token) * i128::from(percent) / 100,
        };
        let arguments = [numbers.capacity().into(), token.into(), share];
        let arguments = arguments.map(|number: i128| number.to_string());
        let granted = connection.run(&self.key, &arguments)?;
        Ok(Changed { granted, bucket: None, flaw: None })
    }

    /// There is none without the feature.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(feature = "redis"))]
    pub(super) fn change(&self, _numbers: Numbers, _change: Change) -> Result<Changed, String> {
        Err("this program was built without the cargo feature `redis`".to_owned())
    }
}
