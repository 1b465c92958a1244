//! Passwords: argon2id with 19 MiB, 2 passes and 1 lane, off the async threads, with a core left for the
//! others where there is more than one. Who goes first is for `hash_queue` to say.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{
    self,
    phc::{Output, ParamsString, PasswordHash, Salt},
};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::hash_queue::{HashQueue, Requester};
use crate::error::Error;
use crate::model::Password;

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Hashes and checks passwords, on threads of its own, one less than there are cores: messages go on
/// while everybody logs in. The runtime's pool has hundreds, and would take 19 MiB for each of them in turn.
#[derive(Clone, Debug)]
pub struct Passwords {
    threads: Arc<Threads>,
    /// Checked where there is no such user, so that the answer takes as long.
    nobody: Arc<str>,
}

type Work = Box<dyn FnOnce(&mut Memory) + Send>;

/// The queue of the threads, which end with it.
struct Threads(Arc<HashQueue<Work>>);

impl Drop for Threads {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Threads").finish_non_exhaustive()
    }
}

/// Longest wait for a turn; after it the caller hears `overloaded`, as at once where the queue is full.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// When whoever got no turn may come back.
const RETRY_AFTER: Duration = Duration::from_secs(4);

/// What a hash is made in. Each thread keeps its own: the system would give it page by page to every
/// hash anew, and let the other threads wait for that.
type Memory = Vec<Block>;

impl Passwords {
    /// # Errors
    /// Where the system has no random numbers, or no threads.
    pub fn new() -> Result<Self, Error> {
        let nobody = Password::to_verify("nobody has this password".to_owned());
        let nobody = hash(&nobody, &mut Memory::new()).map_err(internal)?;
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let number = (cores - 1).max(1);
        let threads = Arc::new(Threads(Arc::new(HashQueue::new(number))));
        for _ in 0..number {
            let queue = Arc::clone(&threads.0);
            let take_turns = move || {
                let mut memory = Memory::new();
                std::iter::from_fn(|| queue.next()).for_each(|work| work(&mut memory));
            };
            std::thread::Builder::new().name("passwords".to_owned()).spawn(take_turns).map_err(Error::internal)?;
        }
        Ok(Self { threads, nobody: nobody.into() })
    }

    /// The PHC string to store for a new password.
    ///
    /// # Errors
    /// `overloaded` where too many others wait, or the system has no random numbers, or no memory.
    pub async fn hash(&self, password: Password, from: &Requester) -> Result<String, Error> {
        self.off_the_async_threads(from, move |memory| hash(&password, memory)).await?.map_err(internal)
    }

    /// Whether a password is the one that was hashed. Without a hash the answer is no, after the
    /// same work.
    ///
    /// # Errors
    /// `overloaded` where too many others wait, or a stored hash is no PHC string, or there is no memory for it.
    pub async fn verify(&self, password: Password, stored: Option<&str>, from: &Requester) -> Result<bool, Error> {
        let exists = stored.is_some();
        let phc = stored.unwrap_or(&self.nobody).to_owned();
        let matches =
            self.off_the_async_threads(from, move |memory| verify(&password, &phc, memory)).await?.map_err(internal)?;
        Ok(matches && exists)
    }

    async fn off_the_async_threads<T: Send + 'static>(
        &self,
        from: &Requester,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (done, result) = oneshot::channel();
        let waits = Arc::new(());
        let and_answer = move |memory: &mut Memory| drop(done.send(work(memory)));
        self.threads.0.push(Box::new(and_answer), from, Arc::downgrade(&waits));
        // The queue drops what it has no room for.
        let result = timeout(MAX_WAIT, result).await.ok().and_then(Result::ok);
        result.ok_or_else(|| Error::overloaded().retry_after(RETRY_AFTER))
    }
}

fn hash(password: &Password, memory: &mut Memory) -> Result<String, password_hash::Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the three constants are within argon2's ranges");
    let salt = Salt::new(&password_hash::try_generate_salt()?)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(argon2.params())?,
        salt: Some(salt),
        hash: Some(output(&argon2, password, &salt, Params::DEFAULT_OUTPUT_LEN, memory)?),
    };
    Ok(hash.to_string())
}

/// The costs come from the stored hash, so that old ones go on working when ours rise.
fn verify(password: &Password, stored: &str, memory: &mut Memory) -> Result<bool, password_hash::Error> {
    let stored = PasswordHash::new(stored).map_err(|_| password_hash::Error::EncodingInvalid)?;
    let (Some(salt), Some(expected)) = (stored.salt, stored.hash) else {
        return Err(password_hash::Error::EncodingInvalid);
    };
    let version = stored.version.map(Version::try_from).transpose()?.unwrap_or_default();
    let argon2 = Argon2::new(stored.algorithm.as_str().try_into()?, version, Params::try_from(&stored)?);
    // In constant time.
    Ok(output(&argon2, password, &salt, expected.len(), memory)? == expected)
}

/// What argon2 makes of a password, so many bytes long.
fn output(
    argon2: &Argon2<'_>,
    password: &Password,
    salt: &Salt,
    length: usize,
    memory: &mut Memory,
) -> Result<Output, password_hash::Error> {
    let missing = argon2.params().block_count().saturating_sub(memory.len());
    memory.try_reserve_exact(missing).map_err(|_| password_hash::Error::OutOfMemory)?;
    memory.resize(memory.len() + missing, Block::new());
    let mut bytes = [0; Output::MAX_LENGTH];
    let bytes = &mut bytes[..length];
    argon2.hash_password_into_with_memory(password.expose().as_bytes(), salt, bytes, memory)?;
    Ok(Output::new(bytes)?)
}

fn internal(error: password_hash::Error) -> Error {
    Error::internal(format!("argon2: {error}"))
}
