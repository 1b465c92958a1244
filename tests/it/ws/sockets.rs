//! Open sockets: how many a user may have, and that they close with their token and session.

use hark::auth::tokens::now;

use super::assert_works;
use super::upgrade::{bearer, delete, log_out, not_authorized, open, protocol};
use crate::support::{Client, SocketEnd, TestServer, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn max_sockets_per_user_is_twenty() {
    let server = TestServer::start().await;
    let (user, other) = (server.create_user("Patrick0").await, server.create_user("Patrick1").await);
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(server.connect(&user).await);
    }
    for headers in [[bearer(&user.token)], [protocol(&user.token)]] {
        let end = open(&server, &headers).await.wait_for_close().await;
        assert_eq!(end, SocketEnd { code: 4009, reason: "Too many sockets of one user".to_owned() });
    }
    assert_works(&mut server.connect(&other).await).await;
    for client in &mut clients {
        assert_works(client).await;
    }

    clients.pop().expect("a client").close().await;
    let hub = &server.server.app().delivery.hub;
    eventually("a place is free", async || hub.open_sockets() < 20).await;
    assert_works(&mut server.connect(&user).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn max_sockets_per_user_does_not_count_a_revoked_token() {
    let server = TestServer::start_with(|config| config.limits.max_sockets_per_user = 1).await;
    let user = server.create_user("Owner").await;
    let (stolen, session) = server.sign_in(user.id, server.server.app().tokens.expiry()).await;
    sqlx::query("delete from sessions where id = $1")
        .bind(session)
        .execute(&mut server.sql().await)
        .await
        .expect("gone");
    let headers = [("authorization", format!("Bearer {stolen}"))];
    let connect = || Client::try_connect(server.server.address(), "/", &headers);
    assert!(connect().await.is_err());
    let _owner = server.connect(&user).await;
    // An invalid token gets 401 even though all places are taken: only the owner learns about the places.
    let Err(refused) = connect().await else { panic!("an upgrade") };
    assert!(refused.to_string().contains("401"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_closes_when_its_token_expires() {
    let server = TestServer::start().await;
    let user = server.create_user("Patrick0").await;
    let (token, _) = server.sign_in(user.id, now() + 2).await;
    let mut program = open(&server, &[bearer(&token)]).await;
    let page = open(&server, &[protocol(&token)]).await;
    assert_works(&mut program).await;
    assert_eq!(program.wait_for_close().await, not_authorized());
    assert_eq!(page.wait_for_close().await, not_authorized());
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_closes_when_its_session_ends() {
    let server = TestServer::start().await;
    let user = server.create_user("Patrick0").await;
    let in_an_hour = now() + 3600;
    let (second, second_session) = server.sign_in(user.id, in_an_hour).await;
    let (third, _) = server.sign_in(user.id, in_an_hour).await;
    let first_clients = [open(&server, &[bearer(&user.token)]).await, open(&server, &[protocol(&user.token)]).await];
    let second_client = open(&server, &[bearer(&second)]).await;
    let mut third_client = open(&server, &[bearer(&third)]).await;
    let (_, mut other) = server.connect_user("Patrick1").await;

    log_out(&server, &user.token).await;
    for client in first_clients {
        assert_eq!(client.wait_for_close().await, not_authorized());
    }
    delete(&server, &format!("/api/v1/auth/sessions/{second_session}"), &third).await;
    assert_eq!(second_client.wait_for_close().await, not_authorized());
    // A socket is closed before the request that ends its session is answered, so one call shows which are
    // left.
    assert_works(&mut third_client).await;
    delete(&server, "/api/v1/users/me", &third).await;
    assert_eq!(third_client.wait_for_close().await, not_authorized());
    assert_works(&mut other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn session_deleted_from_the_database_closes_its_sockets() {
    let server = TestServer::start().await;
    let (user, client) = server.connect_user("Somebody").await;
    sqlx::query("delete from sessions where id = $1")
        .bind(user.session)
        .execute(&mut server.sql().await)
        .await
        .expect("gone");
    assert_eq!(client.wait_for_close().await.code, 4001);
}
