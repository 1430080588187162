package api

import (
	"net/http"

	"github.com/bowline-sh/bowline"
)

// table lists all operations. Its order is that of their nouns.
func (s *Server) table() []route {
	const (
		get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	)
	page := []param{{"limit", "members of a page, 500 at most; default 50", "integer"}, {"cursor", "'next' of the page before", "string"}}
	return []route{
		{method: get, path: "/me", id: "whoAmI", summary: "Who the token speaks for, and what it may do", scope: bowline.ScopeRead, out: Me{}, do: whoAmI},

		{method: get, path: "/targets", id: "listTargets", summary: "Targets that the token may name", scope: bowline.ScopeRead,
			query: []param{{"selector", "as 'bowline target list' reads it", "string"}}, out: Targets{}, do: listTargets},
		{method: post, path: "/targets/{name}/test", id: "testTarget", summary: "Test a target: link, sandbox, limits", scope: bowline.ScopeRun, out: Checks{}, do: testTarget},
		{method: get, path: "/targets/{name}/files", id: "download", summary: "Copy one file from a target, verified", scope: bowline.ScopeApply,
			query: []param{{"path", "absolute, or from the login's home", "string"}}, file: true, do: download},
		{method: put, path: "/targets/{name}/files", id: "upload", summary: "Copy one file to a target, verified and put in place whole", scope: bowline.ScopeApply,
			query: []param{{"path", "absolute, or from the login's home", "string"}, {"mode", "permission bits, in octal", "string"}, {"owner", "user:group", "string"}}, upload: true, out: Copied{}, do: upload},

		{method: get, path: "/targets/{name}/boxes", id: "listBoxes", summary: "Boxes on a target", scope: bowline.ScopeApply, out: Boxes{}, do: listBoxes},
		{method: get, path: "/targets/{name}/boxes/{box}", id: "getBox", summary: "One box", scope: bowline.ScopeApply, out: Box{}, do: getBox},
		{method: post, path: "/targets/{name}/boxes/{box}/start", id: "startBox", query: []param{{"force", "'true' for a box that another owner made", "boolean"}}, summary: "Start a stopped box", scope: bowline.ScopeApply, out: Box{}, do: startBox},
		{method: post, path: "/targets/{name}/boxes/{box}/stop", id: "stopBox", query: []param{{"force", "'true' for a box that another owner made", "boolean"}}, summary: "Stop a box; its volumes stay", scope: bowline.ScopeApply, out: Box{}, do: stopBox},

		{method: get, path: "/profiles", id: "listProfiles", summary: "Profiles that the token may use", scope: bowline.ScopeRead, out: Profiles{}, do: listProfiles},
		{method: post, path: "/policy/explain", id: "explainPolicy", summary: "What the policy says to an act, and why", scope: bowline.ScopeRead, in: PolicyQuestion{}, out: PolicyAnswer{}, do: explainPolicy},

		{method: post, path: "/run", id: "run", summary: "Run a command or script on a target, confined by a profile", scope: bowline.ScopeRun, in: RunRequest{}, out: RunResult{}, events: true, do: run},

		{method: get, path: "/sessions", id: "listSessions", summary: "Sessions, newest first", scope: bowline.ScopeRead,
			query: append([]param{{"status", "only those", "string"}, {"target", "only of this one", "string"}, {"fleet", "only of this one", "string"}}, page...), out: Sessions{}, do: listSessions},
		{method: post, path: "/sessions", id: "plan", summary: "Plan a change: a dry run on a copy-on-write view of the target", scope: bowline.ScopePlan, in: PlanRequest{}, out: Session{}, status: http.StatusCreated, do: planOne},
		{method: get, path: "/sessions/{id}", id: "getSession", summary: "One session, with its plan", scope: bowline.ScopeRead, out: Session{}, do: getSession},
		{method: get, path: "/sessions/{id}/review", id: "review", summary: "The plan as people read it: risks, operations, diffs", scope: bowline.ScopeRead,
			query: []param{{"secrets", "'true' shows the diffs of what holds secrets", "boolean"}}, out: Review{}, do: reviewSession},
		{method: get, path: "/sessions/{id}/drift", id: "drift", summary: "What is in another state on the target than the session left it", scope: bowline.ScopeRead, out: Drift{}, do: drift},
		{method: get, path: "/sessions/{id}/receipt", id: "exportSession", summary: "The session's receipt, which 'bowline session verify' checks", scope: bowline.ScopeRead, file: true, do: export},
		{method: post, path: "/sessions/{id}/select", id: "select", summary: "Make a new session of some operations", scope: bowline.ScopePlan, in: SelectRequest{}, out: Session{}, status: http.StatusCreated, do: selectOps},
		{method: post, path: "/sessions/{id}/cancel", id: "cancel", summary: "Withdraw a session that was not applied", scope: bowline.ScopePlan, in: Reason{}, out: Session{}, do: cancel},
		{method: post, path: "/sessions/{id}/approve", id: "approve", summary: "Approve exactly the plan with this digest, once", scope: bowline.ScopeApprove, in: ApproveRequest{}, out: Decision{}, do: approve},
		{method: post, path: "/sessions/{id}/reject", id: "reject", summary: "Reject a session", scope: bowline.ScopeApprove, in: Reason{}, out: Session{}, do: reject},
		{method: post, path: "/sessions/{id}/apply", id: "apply", summary: "Carry out an approved session", scope: bowline.ScopeApply, in: ApplyRequest{}, out: SessionResult{}, events: true, do: act((*bowline.Client).Apply)},
		{method: post, path: "/sessions/{id}/confirm", id: "confirm", summary: "Keep what was applied with a window", scope: bowline.ScopeApply, in: ApplyRequest{}, out: SessionResult{}, do: act(confirm)},
		{method: post, path: "/sessions/{id}/resume", id: "resume", summary: "Finish an apply that was broken off", scope: bowline.ScopeApply, in: ApplyRequest{}, out: SessionResult{}, events: true, do: act((*bowline.Client).Resume)},
		{method: post, path: "/sessions/{id}/rollback", id: "rollback", summary: "Take a session back", scope: bowline.ScopeApply, in: ApplyRequest{}, out: SessionResult{}, events: true, do: act((*bowline.Client).Rollback)},

		{method: post, path: "/fleets", id: "planFleet", summary: "Plan the same on many targets", scope: bowline.ScopePlan, in: FleetPlanRequest{}, out: Fleet{}, status: http.StatusCreated, events: true, do: planFleet},
		{method: get, path: "/fleets/{id}", id: "getFleet", summary: "A fleet, or one of its classes", scope: bowline.ScopeRead, out: Fleet{}, do: getFleet},
		{method: post, path: "/fleets/{id}/approve", id: "approveFleet", summary: "Approve the class with this effect", scope: bowline.ScopeApprove, in: FleetActRequest{}, out: Members{}, do: approveFleet},
		{method: post, path: "/fleets/{id}/reject", id: "rejectFleet", summary: "Reject a fleet or class", scope: bowline.ScopeApprove, in: FleetActRequest{}, out: Members{}, do: rejectFleet},
		{method: post, path: "/fleets/{id}/apply", id: "applyFleet", summary: "Carry out what is approved of a fleet", scope: bowline.ScopeApply, in: FleetActRequest{}, out: Members{}, events: true, do: actFleet((*bowline.Client).ApplyFleet)},
		{method: post, path: "/fleets/{id}/resume", id: "resumeFleet", summary: "Finish what was broken off", scope: bowline.ScopeApply, in: FleetActRequest{}, out: Members{}, events: true, do: actFleet((*bowline.Client).ResumeFleet)},
		{method: post, path: "/fleets/{id}/rollback", id: "rollbackFleet", summary: "Take a fleet or class back", scope: bowline.ScopeApply, in: FleetActRequest{}, out: Members{}, events: true, do: actFleet((*bowline.Client).RollbackFleet)},

		{method: post, path: "/operations", id: "submit", summary: "Do one verb on many targets, whether or not its reader stays", scope: bowline.ScopeRead, in: OperationRequest{}, out: Operation{}, status: http.StatusAccepted,
			header: []param{{"Idempotency-Key", "makes it safe to send again: the same key and request give the same operation", "string"}}, do: submit},
		{method: get, path: "/operations", id: "listOperations", summary: "Operations of the token's user, newest first", scope: bowline.ScopeRead,
			query: append([]param{{"state", "only those", "string"}, {"user", "only of this one; for administrators", "string"}}, page...), out: Operations{}, do: listOperations},
		{method: get, path: "/operations/{id}", id: "getOperation", summary: "One operation, with its tasks", scope: bowline.ScopeRead, out: Operation{}, do: getOperation},
		{method: get, path: "/operations/{id}/events", id: "watchOperation", summary: "What happens in an operation, as it happens", scope: bowline.ScopeRead, out: Operation{}, events: true, do: watchOperation},
		{method: post, path: "/operations/{id}/cancel", id: "cancelOperation", summary: "Begin nothing more of an operation, and kill what runs", scope: bowline.ScopeRead, out: Operation{}, do: cancelOperation},

		{method: post, path: "/sessions/prune", id: "pruneSessions", summary: "Delete sessions that are over, on their targets and here", scope: bowline.ScopeAdmin, in: PruneRequest{}, out: Pruned{}, do: prune},

		{method: get, path: "/audit", id: "listAudit", summary: "The audit log, newest first", scope: bowline.ScopeRead,
			query: append([]param{{"target", "only of this one", "string"}, {"verb", "only this one", "string"}, {"user", "only of this one", "string"}, {"status", "ok, failed, refused, error", "string"},
				{"since", "RFC 3339", "string"}, {"until", "RFC 3339", "string"}}, page...), out: AuditPage{}, do: listAudit},
		{method: get, path: "/audit/verify", id: "verifyAudit", summary: "Check the chain of the audit log", scope: bowline.ScopeRead, out: AuditState{}, do: verifyAudit},

		{method: get, path: "/tokens", id: "listTokens", summary: "All tokens", scope: bowline.ScopeAdmin, out: Tokens{}, do: listTokens},
		{method: post, path: "/tokens", id: "createToken", summary: "Make a token; its secret is told once", scope: bowline.ScopeAdmin, in: TokenRequest{}, out: Token{}, status: http.StatusCreated, do: createToken},
		{method: del, path: "/tokens/{id}", id: "revokeToken", summary: "End a token at once", scope: bowline.ScopeAdmin, do: revokeToken},
		{method: post, path: "/freeze", id: "freeze", summary: "Let nothing begin on targets", scope: bowline.ScopeAdmin, in: FreezeRequest{}, out: Switches{}, do: freeze},
		{method: post, path: "/unfreeze", id: "unfreeze", summary: "Lift a freeze", scope: bowline.ScopeAdmin, in: FreezeRequest{}, out: Switches{}, do: unfreeze},
	}
}
