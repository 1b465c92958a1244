//! Who is in a group: the list, what is noted for those who were away, and who gets what while people
//! come and go.

use std::cell::Cell;
use std::time::Duration;

use futures_util::future::join_all;
use insta::assert_json_snapshot;
use serde_json::json;
use sqlx::Row as _;
use tokio::sync::watch;

use super::{World, about, done, events, noted, refused, whole};
use crate::support::{answer, steady};

#[tokio::test(flavor = "multi_thread")]
async fn what_commits_after_a_removal_reaches_nobody_who_was_removed() {
    const ROUNDS: usize = 5;
    let mut world = World::begin().await;
    let second = world.server.second_node().await;
    let mut sender = second.connect(&world.cleo).await;
    let (group, bob) = (world.group, about(world.group, &world.bob));
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
                received.extend(world.bob_client.push().await["params"]["item"]["seq"].as_i64());
            }
            done(&mut world.ann_client, "removeUserFromGroup", bob.clone()).await;
            let so_far = *progress.borrow();
            progress.wait_for(|seq| *seq > so_far + 20).await.expect("more is sent");
            done(&mut world.ann_client, "addUserInGroup", bob.clone()).await;
        }
        over.set(true);
    };
    tokio::join!(stream, coming_and_going);
    // Behind all others, and for Bob.
    let last = world.ann_client.call("messageInGroup", json!({ "groupId": group, "content": "over" })).await;
    let last = last["params"]["item"]["seq"].as_i64();
    while received.last().copied() != last {
        received.extend(world.bob_client.push().await["params"]["item"]["seq"].as_i64());
    }
    // The database has both with the time of their lock. Of one moment, either may be first.
    let select = "select m.seq, coalesce(e.kind = 'addUserInGroup', false) as is_in,
                         exists (select from group_events n where n.user_id = $1
                                 and abs(extract(epoch from n.created_at - m.created_at)) < 0.002) as is_close
                  from messages m
                  left join lateral (select kind from group_events e where e.user_id = $1 and e.created_at <= m.created_at
                                     order by e.id desc limit 1) e on true
                  order by m.seq";
    let rows = sqlx::query(select).bind(world.bob.id).fetch_all(&mut world.server.sql().await).await.expect("rows");
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
async fn the_people_of_a_group_are_listed_for_its_members() {
    let mut world = World::begin().await;
    let (_, mut stranger) = world.server.client("Stranger").await;
    assert_eq!(refused(&mut stranger, "listGroupUsers", whole(world.group)).await.0, "not_a_member");
    assert_eq!(refused(&mut world.ann_client, "listGroupUsers", json!({ "groupId": 404 })).await.0, "not_found");
    let data = json!({ "email": "bob@example.org", "username": "sponge", "lastName": "Squarepants" });
    answer(world.server.http("PATCH", "/api/v1/users/me").bearer_auth(&world.bob.token).json(&data)).await.ok(200);
    let page = json!({ "groupId": world.group, "limit": 2 });
    let reply = world.cleo_client.call("listGroupUsers", page).await;
    let mut rows = steady(reply["params"]["data"].clone());
    // The names of those who have none of their own are random in tests.
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
async fn the_list_stays_put_while_people_come_and_go() {
    let mut world = World::begin().await;
    let others = world.server.users("U", 7).await;
    // Later in time, whatever the order of their ids.
    for user in others.iter().rev() {
        done(&mut world.ann_client, "addUserInGroup", about(world.group, user)).await;
    }
    let mut seen = Vec::new();
    for number in 1..=4 {
        let page = json!({ "groupId": world.group, "limit": 3, "page": number });
        let reply = world.cleo_client.call("listGroupUsers", page).await;
        let rows = reply["params"]["data"].as_array().expect("rows").clone();
        seen.extend(rows.iter().map(|row| row["id"].as_i64().expect("an id")));
        match number {
            // Those who were read already go; somebody comes.
            1 => done(&mut world.ann_client, "removeUserFromGroup", about(world.group, &world.bob)).await,
            2 => {
                let late = world.server.user("Late").await;
                done(&mut world.ann_client, "addUserInGroup", about(world.group, &late)).await;
            }
            _ => {}
        }
    }
    let last = others.last().expect("a user").id + 1;
    let expected: Vec<i64> = [world.ann.id, world.bob.id, world.cleo.id]
        .into_iter()
        .chain(others.iter().rev().map(|user| user.id))
        .chain([last])
        .collect();
    assert_eq!(seen, expected);
    // Anew, and in the middle without the page before it.
    let page = json!({ "groupId": world.group, "limit": 3, "page": 2 });
    let reply = world.ann_client.call("listGroupUsers", page).await;
    let ids: Vec<_> = reply["params"]["data"].as_array().expect("rows").iter().map(|row| row["id"].clone()).collect();
    assert_eq!(json!(ids), json!([others[5].id, others[4].id, others[3].id]));
}

#[tokio::test(flavor = "multi_thread")]
async fn coming_and_going_is_noted_in_its_order() {
    let mut world = World::begin().await;
    let dan = world.server.user("Dan").await;
    world.ann_client.call("messageInGroup", json!({ "groupId": world.group, "content": "Hi" })).await;
    done(&mut world.bob_client, "addUserInGroup", about(world.group, &dan)).await;
    let select = "select read_seq, delivered_seq from members where user_id = $1";
    let row = sqlx::query(select).bind(dan.id).fetch_one(&mut world.server.sql().await).await.expect("a row");
    assert_eq!((row.get::<i64, _>(0), row.get::<i64, _>(1)), (1, 1), "nothing from before is new");

    done(&mut world.ann_client, "leaveGroup", whole(world.group)).await;
    assert_eq!(world.cleo_client.push().await["type"], "messageInGroup");
    assert_eq!(world.cleo_client.push().await["type"], "addUserInGroup");
    assert_eq!(world.cleo_client.push().await["type"], "leaveGroup");
    let told = world.cleo_client.push().await;
    assert_eq!(
        (&told["type"], &told["params"]["message"], &told["params"]["item"]["userId"]),
        (&json!("addGroupAdmin"), &json!("User Bob is now an admin of the group."), &json!(world.bob.id))
    );
    let answer = answer(world.server.http("DELETE", "/api/v1/users/me").bearer_auth(&world.bob.token)).await;
    answer.no_content();
    assert_eq!(
        events(&world.server, world.group).await,
        [
            noted("addUserInGroup", &world.ann),
            noted("addUserInGroup", &world.bob),
            noted("addUserInGroup", &world.cleo),
            noted("addUserInGroup", &dan),
            noted("leaveGroup", &world.ann),
            noted("addGroupAdmin", &world.bob),
            noted("leaveGroup", &world.bob),
            noted("addGroupAdmin", &world.cleo),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_for_one_group_at_once_wait_for_each_other_and_never_lock_up() {
    let mut world = World::begin().await;
    let second = world.server.second_node().await;
    let others = world.server.users("U", 6).await;
    for user in &others {
        done(&mut world.ann_client, "addUserInGroup", about(world.group, user)).await;
        done(&mut world.ann_client, "addGroupAdmin", about(world.group, user)).await;
    }
    let group = world.group;
    let mut clients = Vec::new();
    for (nth, user) in others.iter().enumerate() {
        clients.push(if nth % 2 == 0 { &world.server } else { &second }.connect(user).await);
    }
    let target = world.cleo.id;
    let work = clients.iter_mut().enumerate().map(async |(nth, client)| {
        for round in 0..10 {
            let about = json!({ "groupId": group, "userId": target });
            let (kind, params) = match (nth + round) % 5 {
                0 => ("addUserInGroup", about),
                1 => ("removeUserFromGroup", about),
                2 => ("addGroupAdmin", about),
                3 => ("removeGroupAdmin", about),
                _ => ("renameGroup", json!({ "groupId": group, "groupName": format!("{nth} {round}") })),
            };
            let reply = client.call(kind, params).await;
            let code = reply["code"].as_str().unwrap_or("done");
            assert!(["done", "not_a_member", "already_a_member"].contains(&code), "{reply}");
        }
    });
    tokio::time::timeout(Duration::from_secs(20), join_all(work)).await.expect("all are answered");
}
