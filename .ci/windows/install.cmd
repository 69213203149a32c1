@echo off
rem Installs the agent on this PC; run it again after an update. As administrator:
rem
rem   install.cmd C:\path\to\OFFICE.enrolment
rem
rem Needs Python 3.13, 64 bit, for all users, and WinSW-x64.exe of WinSW 2 in this directory as
rem jharnet-agent.exe. Tried by Wine, without the service; not tried on Windows.
setlocal
set "enrolment="
if not "%~1"=="" set "enrolment=%~f1"
cd /d "%~dp0"
set "data=%ProgramData%\jharnet-agent"
rem The wheels are for this Python only, and the service cannot read one that a user has for himself.
if not defined PYTHON set "PYTHON=py -3.13"
%PYTHON% -c "import os, sys, sysconfig; sys.exit(sys.version_info[:2] != (3, 13) or sysconfig.get_platform() != 'win-amd64' or sys.base_prefix.lower().startswith(os.environ['USERPROFILE'].lower()))"
if errorlevel 1 (
  echo error: Python 3.13, 64 bit, is missing: install it for all users, then run this again
  exit /b 2
)
if exist jharnet-agent.exe jharnet-agent.exe stopwait >nul 2>nul
set "failure=1"
%PYTHON% -m venv --clear venv || goto failed
venv\Scripts\python -m pip --isolated install --no-index --no-deps --require-hashes --find-links wheels -r lock.txt || goto failed

rem Anybody may make a directory there, also a link: what is below would change the place it leads to.
%PYTHON% -c "import os, sys; data = os.environ['data']; sys.exit(any(os.path.islink(p) or os.path.isjunction(p) for p in (data, os.path.join(data, 'spool'))))"
if errorlevel 1 (
  echo error: "%data%" or its directory spool is a link: remove it by rmdir, then run this again
  set "failure=2"
  goto failed
)
rem What is there before the service is no longer its maker's.
rem Python makes the spool so that only its maker may use it, who would be the one that tries the agent.
if not exist "%data%\spool" mkdir "%data%\spool" || goto failed
sc query jharnet-agent >nul 2>nul
if errorlevel 1 (
  icacls "%data%" /setowner *S-1-5-32-544 /T /Q >nul || goto failed
  icacls "%data%" /reset /T /Q >nul || goto failed
)
rem SYSTEM, Administrators and LOCAL SERVICE by their numbers: their names are translated.
icacls "%data%" /inheritance:r /grant:r *S-1-5-18:(OI)(CI)F *S-1-5-32-544:(OI)(CI)F *S-1-5-19:(OI)(CI)M >nul || goto failed
if not defined enrolment goto enrolled
venv\Scripts\jharnet-monitor agent --enrolment "%enrolment%" --into "%data%" --no-run || goto failed
:enrolled

rem The hub pings this PC, which Windows would not answer.
netsh advfirewall firewall delete rule name="JharNet agent: echo requests" >nul 2>nul
netsh advfirewall firewall add rule name="JharNet agent: echo requests" dir=in action=allow protocol=icmpv4:8,any >nul

rem Fast startup keeps the services of a PC that was shut down: the agent would not say goodbye, and
rem the night would look like a cut line. It is a setting of Windows 10 and 11 that is on by default.
reg add "HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Power" /v HiberbootEnabled /t REG_DWORD /d 0 /f >nul

if not exist jharnet-agent.exe (
  echo error: the service is missing: put WinSW-x64.exe here as jharnet-agent.exe, then run this again
  exit /b 2
)
jharnet-agent.exe status | find "NonExistent" >nul && jharnet-agent.exe install
jharnet-agent.exe start
exit /b %errorlevel%

rem The service was stopped above.
:failed
sc query jharnet-agent >nul 2>nul && jharnet-agent.exe start
exit /b %failure%
