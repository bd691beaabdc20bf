"""What is wrong is told by the classes of errors that programs catch."""
import gear

server = gear.Server(0)
client = gear.Client()
worker = gear.Worker("w")


def attempt(what, call):
    try:
        call()
    except Exception as error:
        kinds = [name for name in dir(gear) if isinstance(getattr(gear, name), type) and type(error) is getattr(gear, name)]
        print(what, (kinds or [type(error).__name__])[0])
    else:
        print(what, "fine")


class Broken(gear.AdminRequest):
    command = b"version"


attempt("worker without a name", gear.Worker)
attempt("text for a job of bytes", lambda: gear.Job("f", "text"))
attempt("no arguments", lambda: gear.Job("f", None))
attempt("packet of text", lambda: gear.Packet(gear.constants.REQ, 1, "text"))
attempt("magic of text", lambda: gear.Packet("\0REQ", 1, b""))
attempt("wrong magic", lambda: gear.Packet(b"REQ ", 1, b""))
attempt("bare request", lambda: gear.AdminRequest())
attempt("own request", lambda: Broken())
attempt("data that is no list", lambda: setattr(gear.Job("f", b""), "data", b"x"))
attempt("no server to wait for", lambda: client.waitForServer(timeout=0.1))
attempt("no server to get", client.getConnection)
attempt("no server to submit to", lambda: client.submitJob(gear.Job("f", b"")))
client.addServer("127.0.0.1", server.port)
attempt("a server twice", lambda: client.addServer("127.0.0.1", server.port))
client.waitForServer()
attempt("precedence", lambda: client.submitJob(gear.Job("f", b""), precedence=9))
attempt("functions that are none", lambda: worker.setFunctions(["f"]))
attempt("function that is not registered", lambda: worker.unRegisterFunction("f"))
attempt("job that is not known", lambda: gear.Packet(
    gear.constants.RES, gear.constants.WORK_FAIL, b"H:1", client.getConnection()).getJob())
attempt("argument that is not there", lambda: gear.Packet(gear.constants.RES, gear.constants.WORK_FAIL, b"H:1").getArgument(3))
worker.shutdown()
attempt("job after shutdown", worker.getJob)
client.shutdown()
attempt("shutdown twice", client.shutdown)
attempt("submit after shutdown", lambda: client.submitJob(gear.Job("f", b"")))
server.shutdown()
