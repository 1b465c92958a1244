//! Group members: `listGroupUsers`, the events that are recorded for members who were offline, and which
//! pushes a user gets while members join and leave.

use std::cell::Cell;
use std::time::Duration;

use futures_util::future::join_all;
use insta::assert_json_snapshot;
use serde_json::json;
use sqlx::Row as _;
use tokio::sync::watch;

use super::admins::{GroupFixture, call_ok, group_params, member_params, recorded, recorded_events, refused};
use crate::support::{answer, steady};

#[tokio::test(flavor = "multi_thread")]
async fn remove_user_from_group_ends_pushes_of_messages_that_commit_after_it() {
    const ROUNDS: usize = 5;
    let mut fixture = GroupFixture::start().await;
    let second = fixture.server.second_node().await;
    let mut sender = second.connect(&fixture.cleo).await;
    let (group, bob) = (fixture.group, member_params(fixture.group, &fixture.bob));
    let mut received: Vec<i64> = Vec::new();
    let (sent, mut progress) = watch::channel(0);
    let over = Cell::new(false);
    let stream = async {
        while !over.get() {
            let reply = sender.call("messageInGroup", json!({ "groupId": group, "content": "on and on" })).await;
            sent.send_replace(reply["params"]["item"]["seq"].as_i64().unwrap_or_else(|| panic!("a seq: {reply}")));
        }
    };
    let coming_and_going = async {
        for _ in 0..ROUNDS {
            let enough = received.len() + 20;
            while received.len() < enough {
                received.extend(fixture.bob_client.wait_for_push().await["params"]["item"]["seq"].as_i64());
            }
            call_ok(&mut fixture.ann_client, "removeUserFromGroup", bob.clone()).await;
            let so_far = *progress.borrow();
            progress.wait_for(|seq| *seq > so_far + 20).await.expect("more is sent");
            call_ok(&mut fixture.ann_client, "addUserInGroup", bob.clone()).await;
        }
        over.set(true);
    };
    tokio::join!(stream, coming_and_going);
    // This message is sent after all others, and reaches Bob.
    let last = fixture.ann_client.call("messageInGroup", json!({ "groupId": group, "content": "over" })).await;
    let last = last["params"]["item"]["seq"].as_i64();
    while received.last().copied() != last {
        received.extend(fixture.bob_client.wait_for_push().await["params"]["item"]["seq"].as_i64());
    }
    // Both rows carry the time of their lock. Where the times are equal, either may be first.
    let select = "select m.seq, coalesce(e.kind = 'addUserInGroup', false) as is_in,
                         exists (select from group_events n where n.user_id = $1
                                 and abs(extract(epoch from n.created_at - m.created_at)) < 0.002) as is_close
                  from messages m
                  left join lateral (select kind from group_events e where e.user_id = $1 and e.created_at <= m.created_at
                                     order by e.id desc limit 1) e on true
                  order by m.seq";
    let rows = sqlx::query(select).bind(fixture.bob.id).fetch_all(&mut fixture.server.sql().await).await.expect("rows");
    let (mut inside, mut outside) = (0, 0);
    for row in rows {
        let (seq, is_in, is_close): (i64, bool, bool) = (row.get(0), row.get(1), row.get(2));
        if is_close {
            continue;
        }
        assert_eq!(received.contains(&seq), is_in, "{seq}");
        *(if is_in { &mut inside } else { &mut outside }) += 1;
    }
    assert!(inside >= 5 * ROUNDS && outside >= 5 * ROUNDS, "{inside} {outside}");
    assert!(received.is_sorted_by(|one, next| one < next), "{received:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn list_group_users_returns_the_members_to_members_only() {
    let mut fixture = GroupFixture::start().await;
    let (_, mut stranger) = fixture.server.connect_user("Stranger").await;
    assert_eq!(refused(&mut stranger, "listGroupUsers", group_params(fixture.group)).await.0, "not_a_member");
    assert_eq!(refused(&mut fixture.ann_client, "listGroupUsers", json!({ "groupId": 404 })).await.0, "not_found");
    let data = json!({ "email": "bob@example.org", "username": "sponge", "lastName": "Squarepants" });
    answer(fixture.server.http("PATCH", "/api/v1/users/me").bearer_auth(&fixture.bob.token).json(&data)).await.ok(200);
    let page = json!({ "groupId": fixture.group, "limit": 2 });
    let reply = fixture.cleo_client.call("listGroupUsers", page).await;
    let mut rows = steady(reply["params"]["data"].clone());
    // Usernames that a test does not choose are random.
    rows[0]["username"] = json!("[username]");
    assert_json_snapshot!(rows, @r#"
    [
      {
        "firstName": "Ann",
        "id": 1,
        "isAdmin": true,
        "joinedAt": "[time]",
        "lastName": null,
        "name": "Ann",
        "username": "[username]"
      },
      {
        "firstName": "Bob",
        "id": 2,
        "isAdmin": false,
        "joinedAt": "[time]",
        "lastName": "Squarepants",
        "name": "Bob",
        "username": "sponge"
      }
    ]
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn list_group_users_pages_stay_stable_while_members_join_and_leave() {
    let mut fixture = GroupFixture::start().await;
    let others = fixture.server.create_users("U", 7).await;
    // They join later, whatever the order of their ids.
    for user in others.iter().rev() {
        call_ok(&mut fixture.ann_client, "addUserInGroup", member_params(fixture.group, user)).await;
    }
    let mut seen = Vec::new();
    for number in 1..=4 {
        let page = json!({ "groupId": fixture.group, "limit": 3, "page": number });
        let reply = fixture.cleo_client.call("listGroupUsers", page).await;
        let rows = reply["params"]["data"].as_array().expect("rows").clone();
        seen.extend(rows.iter().map(|row| row["id"].as_i64().expect("an id")));
        match number {
            // Members who were listed already leave, and another one joins.
            1 => {
                let bob = member_params(fixture.group, &fixture.bob);
                call_ok(&mut fixture.ann_client, "removeUserFromGroup", bob).await;
            }
            2 => {
                let late = fixture.server.create_user("Late").await;
                call_ok(&mut fixture.ann_client, "addUserInGroup", member_params(fixture.group, &late)).await;
            }
            _ => {}
        }
    }
    let last = others.last().expect("a user").id + 1;
    let expected: Vec<i64> = [fixture.ann.id, fixture.bob.id, fixture.cleo.id]
        .into_iter()
        .chain(others.iter().rev().map(|user| user.id))
        .chain([last])
        .collect();
    assert_eq!(seen, expected);
    // The list is read from the start again, and a page in the middle is read without the page before it.
    let page = json!({ "groupId": fixture.group, "limit": 3, "page": 2 });
    let reply = fixture.ann_client.call("listGroupUsers", page).await;
    let ids: Vec<_> = reply["params"]["data"].as_array().expect("rows").iter().map(|row| row["id"].clone()).collect();
    assert_eq!(json!(ids), json!([others[5].id, others[4].id, others[3].id]));
}

#[tokio::test(flavor = "multi_thread")]
async fn group_events_are_recorded_in_their_order() {
    let mut fixture = GroupFixture::start().await;
    let dan = fixture.server.create_user("Dan").await;
    fixture.ann_client.call("messageInGroup", json!({ "groupId": fixture.group, "content": "Hi" })).await;
    call_ok(&mut fixture.bob_client, "addUserInGroup", member_params(fixture.group, &dan)).await;
    let select = "select read_seq, delivered_seq from members where user_id = $1";
    let row = sqlx::query(select).bind(dan.id).fetch_one(&mut fixture.server.sql().await).await.expect("a row");
    assert_eq!((row.get::<i64, _>(0), row.get::<i64, _>(1)), (1, 1), "nothing from before is new");

    call_ok(&mut fixture.ann_client, "leaveGroup", group_params(fixture.group)).await;
    assert_eq!(fixture.cleo_client.wait_for_push().await["type"], "messageInGroup");
    assert_eq!(fixture.cleo_client.wait_for_push().await["type"], "addUserInGroup");
    assert_eq!(fixture.cleo_client.wait_for_push().await["type"], "leaveGroup");
    let received = fixture.cleo_client.wait_for_push().await;
    assert_eq!(
        (&received["type"], &received["params"]["message"], &received["params"]["item"]["userId"]),
        (&json!("addGroupAdmin"), &json!("User Bob is now an admin of the group."), &json!(fixture.bob.id))
    );
    let answer = answer(fixture.server.http("DELETE", "/api/v1/users/me").bearer_auth(&fixture.bob.token)).await;
    answer.no_content();
    assert_eq!(
        recorded_events(&fixture.server, fixture.group).await,
        [
            recorded("addUserInGroup", &fixture.ann),
            recorded("addUserInGroup", &fixture.bob),
            recorded("addUserInGroup", &fixture.cleo),
            recorded("addUserInGroup", &dan),
            recorded("leaveGroup", &fixture.ann),
            recorded("addGroupAdmin", &fixture.bob),
            recorded("leaveGroup", &fixture.bob),
            recorded("addGroupAdmin", &fixture.cleo),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn group_frames_at_once_are_serialized_without_deadlock() {
    let mut fixture = GroupFixture::start().await;
    let second = fixture.server.second_node().await;
    let others = fixture.server.create_users("U", 6).await;
    for user in &others {
        call_ok(&mut fixture.ann_client, "addUserInGroup", member_params(fixture.group, user)).await;
        call_ok(&mut fixture.ann_client, "addGroupAdmin", member_params(fixture.group, user)).await;
    }
    let group = fixture.group;
    let mut clients = Vec::new();
    for (nth, user) in others.iter().enumerate() {
        clients.push(if nth % 2 == 0 { &fixture.server } else { &second }.connect(user).await);
    }
    let target = fixture.cleo.id;
    let work = clients.iter_mut().enumerate().map(async |(nth, client)| {
        for round in 0..10 {
            let member_params = json!({ "groupId": group, "userId": target });
            let (kind, params) = match (nth + round) % 5 {
                0 => ("addUserInGroup", member_params),
                1 => ("removeUserFromGroup", member_params),
                2 => ("addGroupAdmin", member_params),
                3 => ("removeGroupAdmin", member_params),
                _ => ("renameGroup", json!({ "groupId": group, "groupName": format!("{nth} {round}") })),
            };
            let reply = client.call(kind, params).await;
            let code = reply["code"].as_str().unwrap_or("done");
            assert!(["done", "not_a_member", "already_a_member"].contains(&code), "{reply}");
        }
    });
    tokio::time::timeout(Duration::from_secs(20), join_all(work)).await.expect("all are answered");
}
