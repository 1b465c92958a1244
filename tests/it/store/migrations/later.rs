//! Each migration after the baseline has a test here, whose name begins with the migration's: that of
//! `20261201000001_messages_have_topics.sql` is `messages_have_topics_…`. It takes a database from before the
//! migration, applies the rest, checks what the migration has made of the rows, and that clients find
//! everything as it was:
//!
//! ```ignore
//! #[tokio::test(flavor = "multi_thread")]
//! async fn messages_have_topics_that_say_where_they_came_from() {
//!     let mut database = UsedDatabase::before(20_261_201_000_001).await;
//!     database.upgrade(&hark::MIGRATOR).await;
//!     // What the migration has made of the rows: `database.sql()`, or through the server.
//!     let server = database.serve().await;
//!     database.assert_kept(&server).await;
//! }
//! ```
//!
//! No migration is later than the baseline yet. `super::harness` shows that the harness works.
