//! Limits of notifications: how many are kept, how many one sender may leave unread, and the cost of
//! reading all at once.

use serde_json::{Value, json};
use sqlx::Row as _;

use super::{call_ok, kinds, list, refused};
use crate::support::{TestServer, User, answer, eventually};

async fn stored(server: &TestServer, user: &User) -> i64 {
    let row = sqlx::query("select count(*) from notifications where user_id = $1").bind(user.id);
    row.fetch_one(&mut server.sql().await).await.expect("a row").get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn send_notification_limits_the_unread_ones_of_each_sender() {
    let server = TestServer::start_with(|config| {
        config.limits.max_unread_notifications_from_one = 5;
        config.limits.max_requests_at_once = 20;
    })
    .await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let mallory = server.create_user("Mallory").await;
    let like = json!({ "userId": bob.id, "kind": "like" });
    let flood = async || {
        let mut sockets = Vec::new();
        for _ in 0..10 {
            let (mut socket, like) = (server.connect(&mallory).await, like.clone());
            sockets.push(tokio::spawn(async move {
                let first = socket.call("sendNotification", like.clone()).await;
                [first, socket.call("sendNotification", like).await]
            }));
        }
        let mut through = 0;
        for socket in sockets {
            for reply in socket.await.expect("replies") {
                if reply["success"] == true {
                    through += 1;
                } else {
                    assert_eq!(reply["code"], "conflict", "{reply}");
                    assert_eq!(reply["message"], "params.userId: this user has 5 notifications of yours to read first");
                }
            }
        }
        through
    };
    assert_eq!(flood().await, 5);
    let (_, mut ann) = server.connect_user("Ann").await;
    call_ok(&mut ann, "sendNotification", like.clone()).await;
    assert_eq!(stored(&server, &bob).await, 6);
    // One that is read makes room for one, and all of them for as many.
    let newest = &list(&mut bob_client, json!({})).await[1];
    call_ok(&mut bob_client, "readNotifications", json!({ "notificationId": newest["notificationId"] })).await;
    assert_eq!(flood().await, 1);
    call_ok(&mut bob_client, "readNotifications", json!({})).await;
    assert_eq!(flood().await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn send_notification_evicts_the_oldest() {
    let server = TestServer::start_with(|config| config.limits.max_notifications_per_user = 3).await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (_, mut ann) = server.connect_user("Ann").await;
    for nth in 0..7 {
        call_ok(&mut ann, "sendNotification", json!({ "userId": bob.id, "kind": format!("k{nth}") })).await;
        if nth == 5 {
            call_ok(&mut bob_client, "readNotifications", json!({})).await;
        }
    }
    assert_eq!(kinds(&mut bob_client, json!({})).await, ["k6", "k5", "k4"]);
    let rows = list(&mut bob_client, json!({})).await;
    assert_eq!(rows.iter().map(|row| row["readAt"].is_null()).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(stored(&server, &bob).await, 3);
}

fn read_at(rows: &[Value]) -> Vec<Option<String>> {
    rows.iter().map(|row| row["readAt"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn read_notifications_of_all_updates_no_row_and_keeps_earlier_times() {
    let server = TestServer::start().await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let send = json!({ "userId": bob.id, "kind": "like" });
    let mut sql = server.sql().await;
    for _ in 0..3 {
        call_ok(&mut ann, "sendNotification", send.clone()).await;
    }
    let second = list(&mut bob_client, json!({})).await[1]["notificationId"].clone();
    let one =
        call_ok(&mut bob_client, "readNotifications", json!({ "notificationId": second })).await["item"]["readAt"]
            .clone();
    // A transaction locks every row: a request that had to change one would wait.
    for statement in ["begin", "select from notifications for update"] {
        sqlx::query(statement).execute(&mut sql).await.expect("locks");
    }
    let all = call_ok(&mut bob_client, "readNotifications", json!({})).await["item"]["readAt"].clone();
    sqlx::query("rollback").execute(&mut sql).await.expect("an end");
    call_ok(&mut ann, "sendNotification", send).await;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let expected = [None, text(&all), text(&one), text(&all)];
    assert_eq!(read_at(&list(&mut bob_client, json!({})).await), expected);
    let later = call_ok(&mut bob_client, "readNotifications", json!({})).await["item"]["readAt"].clone();
    let expected = [text(&later), text(&all), text(&one), text(&all)];
    assert_eq!(read_at(&list(&mut bob_client, json!({})).await), expected);
    // One that was read together with all others keeps that time.
    let oldest = list(&mut bob_client, json!({})).await[3]["notificationId"].clone();
    let again = call_ok(&mut bob_client, "readNotifications", json!({ "notificationId": oldest })).await;
    assert_eq!(again["item"]["readAt"], all);
    // With nothing new the time is now, and nothing is stored.
    call_ok(&mut bob_client, "readNotifications", json!({})).await;
    let reads = sqlx::query("select count(*) from notification_reads").fetch_one(&mut sql).await.expect("a row");
    assert_eq!(reads.get::<i64, _>(0), 2);
    let export = answer(server.http("GET", "/api/v1/users/me/export").bearer_auth(&bob.token)).await;
    let export = export.ok(200);
    let mut exported = read_at(export["notifications"].as_array().expect("rows"));
    exported.reverse();
    assert_eq!(exported, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn read_notifications_of_all_waits_for_one_in_flight() {
    let server = TestServer::start().await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let mut sending = server.sql().await;
    sqlx::query("begin").execute(&mut sending).await.expect("a transaction");
    sqlx::query("select from users where id = $1 for share").bind(bob.id).execute(&mut sending).await.expect("a lock");
    let insert = sqlx::query("insert into notifications (user_id, sender_id, kind) values ($1, $2, 'slow')");
    insert.bind(bob.id).bind(ann.id).execute(&mut sending).await.expect("a row");
    call_ok(&mut ann_client, "sendNotification", json!({ "userId": bob.id, "kind": "fast" })).await;
    let id = bob_client.send("readNotifications", json!({})).await;
    eventually("the reading waits", async || {
        let waits = "select exists (select from pg_stat_activity where datname = current_database()
                     and wait_event_type = 'Lock' and query like 'select from users%')";
        sqlx::query(waits).fetch_one(&mut server.sql().await).await.expect("a row").get(0)
    })
    .await;
    sqlx::query("commit").execute(&mut sending).await.expect("a commit");
    let reply = bob_client.wait_for_reply_to(id).await;
    assert_eq!(reply["success"], true, "{reply}");
    let rows = list(&mut bob_client, json!({})).await;
    assert_eq!(read_at(&rows), vec![reply["params"]["item"]["readAt"].as_str().map(str::to_owned); 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_me_deletes_very_many_notifications() {
    let server = TestServer::start().await;
    let bob = server.create_user("Bob").await;
    let (ann, _) = server.connect_user("Ann").await;
    let many = sqlx::query(
        "insert into notifications (user_id, sender_id, kind) select $1, $2, 'like' from generate_series(1, 12000)",
    );
    many.bind(bob.id).bind(ann.id).execute(&mut server.sql().await).await.expect("rows");
    let mut client = server.connect(&bob).await;
    call_ok(&mut client, "readNotifications", json!({})).await;
    assert_eq!(refused(&mut client, "readNotifications", json!({ "notificationId": 99_999 })).await.0, "not_found");
    answer(server.http("DELETE", "/api/v1/users/me").bearer_auth(&bob.token)).await.no_content();
    assert_eq!(stored(&server, &bob).await, 0);
    let reads = sqlx::query("select count(*) from notification_reads").fetch_one(&mut server.sql().await).await;
    assert_eq!(reads.expect("a row").get::<i64, _>(0), 0);
}
