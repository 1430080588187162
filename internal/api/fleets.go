package api

import (
	"context"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

func newMember(m bowline.MemberResult) Member {
	out := Member{Target: m.Session.Target, Session: m.Session.ID, Class: string(m.Class)}
	if m.Err != nil {
		out.Kind, out.Error, out.Hint = diag.KindOf(m.Err), m.Err.Error(), diag.HintOf(m.Err)
	}
	return out
}

func newFleet(f bowline.Fleet) Fleet {
	out := Fleet{ID: f.ID, Classes: []Class{}}
	for _, p := range f.Classes {
		k := Class{ID: p.ID, Effect: p.Effect, Targets: p.Targets()}
		for _, s := range p.Sessions {
			k.Sessions = append(k.Sessions, newSession(s))
		}
		out.Classes = append(out.Classes, k)
	}
	return out
}

// watch collects what came of targets, and tells a reader of events.
func (c *call) watch(to *[]Member) bowline.FleetWatch {
	return bowline.FleetWatch{
		Began: func(target string) {
			if c.events != nil {
				_ = c.events.send("began", "", Member{Target: target})
			}
		},
		Ended: func(m bowline.MemberResult) {
			*to = append(*to, newMember(m))
			if c.events != nil {
				_ = c.events.send("ended", "", newMember(m))
			}
		},
	}
}

func planFleet(c *call) (any, error) {
	in, err := body[FleetPlanRequest](c)
	if err != nil {
		return nil, err
	}
	if in.Plan.Target != "" || in.Selector == "" {
		return nil, diag.New(diag.Usage, "plan", "as in \"selector\": \"env=prod\"", "a fleet is named by its selector, and by nothing else")
	}
	list, err := c.Targets(c, in.Selector)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, t := range list {
		if err := c.sees(t.Name); err != nil {
			return nil, err
		}
		names = append(names, t.Name)
	}
	var members, failed []Member
	f, _, err := c.PlanFleet(c, names, in.Plan.request(), bowline.FleetOptions{Fanout: in.Fanout}, c.watch(&members))
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		if m.Error != "" {
			failed = append(failed, m)
		}
	}
	out := newFleet(f)
	out.Failed = failed
	return out, nil
}

// fleet returns one that the visitor may see whole.
func (c *call) fleet() (bowline.Fleet, error) {
	f, err := c.Client.Fleet(c, c.path("id"))
	missing := diag.New(diag.Usage, "find fleet", "GET "+Prefix+"/sessions lists sessions and their fleets", "%w", errMissing)
	if diag.KindOf(err) == diag.Usage {
		return f, missing
	}
	sees := c.visitor.Sees()
	for _, s := range f.Sessions() {
		if !sees(s.Target) {
			return bowline.Fleet{}, missing
		}
	}
	return f, err
}

func getFleet(c *call) (any, error) {
	f, err := c.fleet()
	if err != nil {
		return nil, err
	}
	return newFleet(f), nil
}

func approveFleet(c *call) (any, error) {
	in, err := body[FleetActRequest](c)
	if err != nil {
		return nil, err
	}
	f, err := c.fleet()
	if err != nil {
		return nil, err
	}
	if in.Effect == "" {
		return nil, diag.New(diag.Usage, "approve "+f.ID, "send the 'effect' of the class that was read", "%w", errDigest)
	}
	return members(c.ApproveFleet(c, f.ID, in.Effect))
}

func rejectFleet(c *call) (any, error) {
	in, err := body[FleetActRequest](c)
	if err != nil {
		return nil, err
	}
	f, err := c.fleet()
	if err != nil {
		return nil, err
	}
	return members(c.RejectFleet(c, f.ID, in.Reason))
}

func members(list []bowline.MemberResult, err error) (any, error) {
	if err != nil && len(list) == 0 {
		return nil, err
	}
	out := Members{OK: err == nil, Members: []Member{}}
	for _, m := range list {
		out.OK = out.OK && m.Err == nil
		out.Members = append(out.Members, newMember(m))
	}
	return out, nil
}

type fleetAct = func(*bowline.Client, context.Context, string, bowline.ApplyOptions, bowline.FleetOptions, bowline.FleetWatch) (bowline.FleetReport, error)

// actFleet returns the handler of something that is done on many targets. It goes on
// when its reader leaves.
func actFleet(do fleetAct) func(*call) (any, error) {
	return func(c *call) (any, error) {
		in, err := body[FleetActRequest](c)
		if err != nil {
			return nil, err
		}
		f, err := c.fleet()
		if err != nil {
			return nil, err
		}
		o := in.Apply.options(c)
		o.Progress = nil // of many targets at once it would say nothing
		out := Members{Members: []Member{}}
		rep, err := do(c.Client, context.WithoutCancel(c), f.ID, o, bowline.FleetOptions{Fanout: in.Fanout, Waves: in.Waves, MaxFailures: in.MaxFailures}, c.watch(&out.Members))
		out.OK = err == nil && rep.OK()
		return out, err
	}
}
