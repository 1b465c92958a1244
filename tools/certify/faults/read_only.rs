//! A database that takes no writes for a moment, as one that fails over does.

use rand::rngs::StdRng;

use super::{Targets, pause};
use crate::certify::record::Phase;

const DATABASE: &str = "postgres";

impl Targets {
    /// Makes PostgreSQL read-only for some seconds. Some sessions were there before, and are as the others
    /// afterwards; those that are made in that time are read-only for as long as they last, so whoever
    /// keeps them never writes again.
    pub(super) async fn make_read_only(&self, note: impl Fn(Phase), rng: &mut StdRng) -> Result<(), String> {
        let postgres = self.postgres.as_ref().ok_or("PostgreSQL is not ours")?.lock().await;
        note(Phase::Begun);
        for statement in [
            "alter database postgres set default_transaction_read_only = on",
            "alter system set default_transaction_read_only = on",
            "select pg_reload_conf()",
            "select pg_terminate_backend(pid) from pg_stat_activity
             where backend_type = 'client backend' and pid <> pg_backend_pid() and random() < 0.5",
        ] {
            postgres.execute(DATABASE, statement).await?;
        }
        // Each session sees it when it is signalled.
        pause(rng, 800..1000).await;
        note(Phase::Away);
        // Longer than `/readyz` may take to see it.
        pause(rng, 4000..6000).await;
        note(Phase::Back);
        for statement in [
            "begin read write; alter database postgres reset default_transaction_read_only; commit",
            "alter system reset default_transaction_read_only",
            "select pg_reload_conf()",
        ] {
            postgres.execute(DATABASE, statement).await?;
        }
        Ok(())
    }
}
