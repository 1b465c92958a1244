//! A database that takes no writes for a moment, as one that fails over does: in a session that was there
//! before, and in those that are made meanwhile, which stay so.

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{Targets, pause};
use crate::certify::record::Phase;

const DATABASE: &str = "postgres";
const CUT: &str = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and application_name = 'hark'";

impl Targets {
    /// Makes PostgreSQL read-only for some seconds: all sessions, or those that are made in that time.
    pub(super) async fn make_read_only(&self, note: impl Fn(Phase), rng: &mut StdRng) -> Result<(), String> {
        let postgres = self.postgres.as_ref().ok_or("PostgreSQL is not ours")?.lock().await;
        note(Phase::Begun);
        if rng.random() {
            postgres.execute(DATABASE, "alter system set default_transaction_read_only = on").await?;
            postgres.execute(DATABASE, "select pg_reload_conf()").await?;
            // Each session sees it when it is signalled.
            pause(rng, 800..1000).await;
            note(Phase::Away);
            pause(rng, 1500..5000).await;
            note(Phase::Back);
            // Now as any other setting: it has to be set in a transaction that may write, or in none.
            postgres.execute(DATABASE, "alter system reset default_transaction_read_only").await?;
            postgres.execute(DATABASE, "select pg_reload_conf()").await?;
        } else {
            postgres.execute(DATABASE, "alter database postgres set default_transaction_read_only = on").await?;
            // Whoever comes back at once is let in by a server that takes no writes, and keeps the connection.
            postgres.execute(DATABASE, CUT).await?;
            pause(rng, 800..1000).await;
            note(Phase::Away);
            pause(rng, 1500..5000).await;
            note(Phase::Back);
            postgres.execute("template1", "alter database postgres reset default_transaction_read_only").await?;
        }
        Ok(())
    }
}
