//! The schema: compares the migrations of this build with those that a database has, and applies the missing
//! ones. How to add a migration is in migrations/README.md.

use std::collections::BTreeSet;

use sqlx::migrate::{Migrate as _, MigrateError};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use crate::error::Error;
use crate::store::Db;
use crate::store::session_settings::prepare_session;

/// The migrations of this build, which `sqlx migrate run` applies as well.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// The table in which sqlx keeps the migrations that were applied.
const APPLIED_TABLE: &str = "_sqlx_migrations";

impl Db {
    /// Applies the migrations that are missing, and returns their names. Several nodes may do so at once: one
    /// applies them under an advisory lock, and the others wait for it.
    ///
    /// # Errors
    /// If a migration fails, or the database has migrations that this build does not know.
    pub async fn migrate(&self) -> Result<Vec<String>, Error> {
        // A connection of its own and no timeouts: a node waits for another one's migration as long as that takes.
        let mut connection = self.pool.connect_options().connect().await?;
        prepare_session(&mut connection).await?;
        sqlx::raw_sql("set lock_timeout = 0; set statement_timeout = 0").execute(&mut connection).await?;
        let before = applied_versions(&mut connection).await?;
        check_release(&before)?;
        MIGRATOR.run(&mut connection).await.map_err(describe)?;
        connection.close().await?;
        Ok(names(|version| !before.contains(&version)))
    }

    /// Checks that this build can work with the schema, for a node that does not migrate it. It can work with a
    /// newer one, because nodes of two versions run side by side during an update.
    ///
    /// # Errors
    /// `internal`; the cause is a sentence that says what to do.
    pub async fn check_schema(&self) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        let what_to_do = "run `hark migrate`, or set HARK_MIGRATE=true";
        let applied = applied_versions(&mut connection).await?;
        if applied.is_empty() {
            return Err(Error::internal(format!("it has no schema, and HARK_MIGRATE is false: {what_to_do}")));
        }
        check_release(&applied)?;
        let missing = names(|version| !applied.contains(&version));
        if !missing.is_empty() {
            return Err(Error::internal(format!(
                "its schema is older than this build, and HARK_MIGRATE is false: {what_to_do} (missing: {})",
                missing.join(", ")
            )));
        }
        if let Some(newer) = applied.iter().find(|version| !MIGRATOR.version_exists(**version)) {
            tracing::warn!(
                migration = newer,
                "schema newer than this build; upgrade this node too (`hark migrate` of this build changes nothing)"
            );
        }
        Ok(())
    }
}

/// Refuses the schema of a development build from before 0.1.0. Releases have no migrations that continue it:
/// those of the development builds were replaced by a baseline.
fn check_release(applied: &BTreeSet<i64>) -> Result<(), Error> {
    let baseline = MIGRATOR.iter().map(|migration| migration.version).min();
    match applied.iter().find(|version| Some(**version) < baseline) {
        None => Ok(()),
        Some(version) => Err(Error::internal(format!(
            "it has migration {version}, which no release of Hark has: it is of a development build from before 0.1.0, \
             or of another program, and no release can bring it up to date. Nothing in it was changed. Use a new, empty \
             database: another one in DATABASE_URL, or another HARK_DATA_DIR for the private PostgreSQL. To keep what \
             is in the old one, run the build that made it, and let users export their data (GET /api/v1/users/me/export)"
        ))),
    }
}

/// The versions of the migrations that were applied; empty if none ever was.
async fn applied_versions(connection: &mut PgConnection) -> Result<BTreeSet<i64>, Error> {
    let has_table = sqlx::query_scalar!(r#"select to_regclass($1) is not null as "has_table!""#, APPLIED_TABLE)
        .fetch_one(&mut *connection)
        .await?;
    if !has_table {
        return Ok(BTreeSet::new());
    }
    let rows = connection.list_applied_migrations(APPLIED_TABLE).await.map_err(describe)?;
    Ok(rows.into_iter().map(|row| row.version).collect())
}

/// Version and name of those migrations of this build that the condition selects.
fn names(is_selected: impl Fn(i64) -> bool) -> Vec<String> {
    let selected = MIGRATOR.iter().filter(|migration| is_selected(migration.version));
    selected.map(|migration| format!("{} {}", migration.version, migration.description)).collect()
}

/// The sentence that an operator reads.
fn describe(error: MigrateError) -> Error {
    match error {
        MigrateError::VersionMissing(version) => Error::internal(format!(
            "its schema is newer than this build: it has migration {version}. Run the build that applied it, or a later \
             one; `hark migrate` of this build cannot go back"
        )),
        MigrateError::VersionMismatch(version) => Error::internal(format!(
            "migration {version} was applied in another form than this build has it: the database belongs to another \
             build"
        )),
        MigrateError::ExecuteMigration(error, version) => {
            Error::internal(format!("migration {version} failed: {error}"))
        }
        error => Error::internal(error),
    }
}
