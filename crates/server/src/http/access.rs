//! Who asks, and what they may: the same tokens, roles and projects as on the socket.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use agentbench_audit::Record;
use agentbench_auth::{AuthError, Grant, Permission};
use agentbench_protocol::message::Sender;
use agentbench_protocol::{ErrorCode, Refusal, SessionId};
use agentbench_session::ConnectionKey;
use axum::http::request::Parts;
use axum::http::{Method, header};

use super::answer::Answer;
use super::api::Api;
use super::head;
use crate::letters::Requester;
use crate::query::Query;
use crate::rules::{bearer, no_such_session};
use crate::transport::Peer;

/// Somebody with a good token.
pub(crate) struct Caller {
    pub(crate) grant: Arc<Grant>,
    address: IpAddr,
}

impl Caller {
    /// By the `Authorization` header alone.
    pub(crate) fn of(api: &Api, parts: &Parts) -> Answer<Self> {
        let header = head::text(&parts.headers, header::AUTHORIZATION.as_str()).and_then(bearer);
        Self::by_token(api, address_of(parts), header)?.counted(api, parts)
    }

    /// By the header, or by `?token=` where there is none: an `EventSource` cannot set headers.
    pub(crate) fn of_event_source(api: &Api, parts: &Parts, query: &Query) -> Answer<Self> {
        let header = head::text(&parts.headers, header::AUTHORIZATION.as_str()).and_then(bearer);
        Self::by_token(api, address_of(parts), header.or_else(|| query.get("token")))?.counted(api, parts)
    }

    /// Takes one message's worth from the user's rate for a request that only reads; others are counted by what they bring.
    fn counted(self, api: &Api, parts: &Parts) -> Answer<Self> {
        if matches!(parts.method, Method::GET | Method::HEAD) {
            self.charge(api, 1)?;
        }
        Ok(self)
    }

    /// Takes `count` messages' worth from the user's rate.
    pub(crate) fn charge(&self, api: &Api, count: u64) -> Answer<()> {
        let taken = api.shared.gate.users.take_guest_rate(&self.grant.user_id, count, api.now());
        taken.map_err(|wait| {
            let detail = "asked for more than the limit allows (USER_RATE)";
            Refusal::new(ErrorCode::RateLimited, detail).retry_after(wait).into()
        })
    }

    fn by_token(api: &Api, address: IpAddr, token: Option<&str>) -> Answer<Self> {
        let verified = match token {
            None => Err(AuthError::Missing),
            Some(token) => api.shared.gate.authenticate(token, api.now()),
        };
        match verified {
            Ok(grant) => Ok(Self { grant: Arc::new(grant), address }),
            Err(error) => {
                api.shared.metrics.refused(error.as_str());
                api.shared.ops.auditor.record_stranger(api.now(), error.as_str(), address, "over HTTP");
                let code = if error == AuthError::NotPermitted {
                    ErrorCode::Forbidden
                } else {
                    ErrorCode::NotAuthenticated
                };
                tracing::info!(reason = error.as_str(), %address, "refused a request: {error}");
                Err(Refusal::new(code, error.to_string()).into())
            }
        }
    }

    /// Refuses whoever lacks the permission.
    pub(crate) fn needs(&self, permission: Permission) -> Answer<()> {
        if self.grant.allows(permission) {
            return Ok(());
        }
        let detail = format!("the token does not permit this: it needs {permission}");
        Err(Refusal::new(ErrorCode::Forbidden, detail).into())
    }

    /// As [`Caller::needs`] for what only administrators do: either outcome is written down.
    pub(crate) fn administers(&self, api: &Api, permission: Permission, action: &'static str) -> Answer<()> {
        let allowed = self.needs(permission);
        let code = ErrorCode::Forbidden.as_str();
        api.shared.audit(|| match &allowed {
            Ok(()) => self.record(Record::allowed(api.now(), action)),
            Err(_) => self.record(Record::refused(api.now(), action, code)),
        });
        allowed
    }

    /// The record with who asked, and from where.
    pub(crate) fn record(&self, record: Record) -> Record {
        Record {
            user: self.grant.user_id.clone(),
            role: self.grant.role.as_str().to_owned(),
            address: self.address.to_string(),
            ..record
        }
    }

    /// Refuses whoever may not read, and names that are no session's; those of other projects are none to the caller.
    pub(crate) fn may_read(
        &self,
        api: &Api,
        session: SessionId,
    ) -> Answer<Arc<crate::session::entry::Entry>> {
        self.needs(Permission::SessionRead)?;
        self.reaches(api, session)
    }

    /// Refuses names that are no session's in the caller's projects, all in the same words. What may be done there is for
    /// [`Caller::needs`].
    pub(crate) fn reaches(&self, api: &Api, session: SessionId) -> Answer<Arc<crate::session::entry::Entry>> {
        let entry =
            api.shared.storage.catalog.get(session).ok_or_else(|| api.shared.storage.no_such_session())?;
        if !self.grant.may_access(&entry.summary().project_id) {
            return Err(no_such_session().into());
        }
        Ok(entry)
    }

    /// The caller as an owner knows it, under the key of an exchange.
    pub(crate) fn requester(&self, api: &Api, key: ConnectionKey) -> Requester {
        let who = Arc::new(Sender {
            client_id: api.shared.post.names.client_id(key),
            user_id: self.grant.user_id.clone(),
            username: self.grant.username.clone(),
            role: self.grant.role.as_str().to_owned(),
        });
        Requester { connection: key, who, grant: Arc::clone(&self.grant), address: self.address }
    }
}

/// Where a request came from, with what trusted proxies said of it.
pub(crate) fn address_of(parts: &Parts) -> IpAddr {
    // Every request is given its peer before it is routed.
    parts.extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.address)
}
