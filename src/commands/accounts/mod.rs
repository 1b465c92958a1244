//! Accounts: what sign-up, sign-in, sign-out, a new password, a change of one's own data and the deletion
//! of an account do. No frame requests them, only routes of `http/`, whose handlers extract, call and respond.

pub mod deletion;
pub mod password;
pub mod profile;
pub mod sign_in;
pub mod sign_out;
pub mod sign_up;

use std::net::IpAddr;

use crate::error::Error;
use crate::model::Email;
use crate::wire::params::{Fields, Param};

/// Where a request for an account comes from: rate limits count the address, and a session keeps both.
#[derive(Clone, Debug)]
pub struct Client {
    /// The address of the client, behind a trusted proxy the one that the proxy forwards.
    pub address: IpAddr,
    /// The `User-Agent` header, cut to a bounded length.
    pub user_agent: Option<String>,
}

/// The identifier of an account, of which one has to be given: an e-mail address, which clients of the first
/// server call `userEmail`, or a username.
fn email_or_username<U: Param>(fields: &Fields<'_>) -> Result<(Option<Email>, Option<U>), Error> {
    let email = match fields.optional("email")? {
        Some(email) => Some(email),
        None => fields.optional("userEmail")?,
    };
    let username = fields.optional("username")?;
    if email.is_none() && username.is_none() {
        return Err(Error::bad_params("email or username is required"));
    }
    Ok((email, username))
}
